#pragma once
// Zip archives whose members are stored as they are, read strictly: NumPy's .npz and PyTorch's
// .bin. Sizes come from the central directory, since writers leave them out of local headers; only
// the data's offset is the local header's.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"

namespace lancet {

/// Bytes of a file by their offset; what lies outside is Error(kInput), as is what bad() says.
class OffsetReader {
 public:
  /// `operation` and `source`, which live as long, name the errors.
  OffsetReader(Bytes file, std::string_view operation, std::string_view source)
      : file_(file), operation_(operation), source_(source) {}

  template <typename T>
  [[nodiscard]] T at(std::uint64_t offset) const {
    return load_le<T>(part(offset, sizeof(T)).data());
  }
  [[nodiscard]] Bytes part(std::uint64_t offset, std::uint64_t size) const;
  [[nodiscard]] std::string_view text(std::uint64_t offset, std::uint64_t size) const;
  [[nodiscard]] std::uint64_t size() const { return file_.size(); }
  [[noreturn]] void bad(std::uint64_t offset, std::string_view expected, std::string_view found,
                        std::string hint = {}) const;

 private:
  Bytes file_;
  std::string_view operation_, source_;
};

struct ZipMember {
  std::string name;
  std::uint64_t offset = 0;  ///< of the data, in the file
  Bytes data;
};

/// All members in the order of the file. Error(kInput) with the byte offset: not a zip, members
/// that are compressed or encrypted or overlap, sizes that do not fit, names twice.
[[nodiscard]] std::vector<ZipMember> parse_zip(const OffsetReader& in);

}  // namespace lancet
