#pragma once
// SHA-256 (OpenSSL).

#include <memory>
#include <string>
#include <string_view>

#include "core/bytes.h"
#include "core/file.h"

namespace lancet {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  Sha256& update(Bytes bytes);
  Sha256& update(std::string_view text);
  /// 64 lower-case hex digits; the object may not be updated afterwards.
  [[nodiscard]] std::string hex();
  /// Of what has come so far.
  [[nodiscard]] Sha256 copy() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

[[nodiscard]] std::string sha256_hex(Bytes bytes);
[[nodiscard]] std::string sha256_hex(std::string_view text);
/// Hash of a file's bytes, streamed.
[[nodiscard]] std::string sha256_file(const fs::path& path);

}  // namespace lancet
