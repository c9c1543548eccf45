// Layout: see npz.cpp. Every local header says 0xFFFFFFFF and carries its sizes in extra field 1,
// as NumPy writes; the central directory does so only for values that need it.
#include <fmt/format.h>
#include <zlib.h>

#include "core/error.h"
#include "formats/containers/npz.h"

namespace lancet {
namespace {

constexpr std::uint32_t kFull = 0xFFFFFFFF;
constexpr std::uint16_t kVersion = 45;       ///< ZIP64
constexpr std::uint16_t kDate = 1 << 5 | 1;  ///< 1980-01-01: no clock in the bytes

class Record {
 public:
  template <typename T>
  Record& put(T value) {
    const std::size_t at = text_.size();
    text_.resize(at + sizeof value);
    store_le(text_.data() + at, value);
    return *this;
  }
  Record& text(std::string_view value) {
    text_ += value;
    return *this;
  }
  [[nodiscard]] const std::string& str() const { return text_; }

 private:
  std::string text_;
};

struct Member {
  std::string name, header;  ///< npy header
  Bytes data;
  std::uint32_t crc = 0;
  std::uint64_t size = 0, offset = 0;
};

std::string npy_header(const NpyOutput& array) {
  std::string shape;
  for (const std::int64_t dim : array.shape) shape += fmt::format("{}, ", dim);
  if (array.shape.size() > 1) shape.resize(shape.size() - 2);
  if (array.shape.size() == 1) shape.resize(shape.size() - 1);
  std::string dict =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", array.descr, shape);
  dict += std::string(64 - (dict.size() + 11) % 64, ' ') + '\n';
  Record out;
  out.text("\x93NUMPY").put<std::uint8_t>(1).put<std::uint8_t>(0);
  out.put(static_cast<std::uint16_t>(dict.size())).text(dict);
  return out.str();
}

std::uint32_t crc_of(std::uint32_t crc, Bytes data) {
  return static_cast<std::uint32_t>(
      ::crc32_z(crc, reinterpret_cast<const unsigned char*>(data.data()), data.size()));
}

Member make_member(const NpyOutput& array) {
  Member out{array.name + ".npy", npy_header(array), array.data};
  std::uint64_t bytes = std::stoull(array.descr.substr(2)) * (array.descr[1] == 'U' ? 4 : 1);
  for (const std::int64_t dim : array.shape) bytes *= static_cast<std::uint64_t>(dim);
  if (bytes != array.data.size())
    fail(ErrorKind::kInternal, "npz",
         fmt::format("array '{}': expected {} bytes, found {}", array.name, bytes,
                     array.data.size()));
  out.size = out.header.size() + array.data.size();
  out.crc = crc_of(crc_of(0, std::as_bytes(std::span(out.header))), array.data);
  return out;
}

std::string local_header(const Member& member) {
  Record out;
  out.put<std::uint32_t>(0x04034b50).put(kVersion).put<std::uint16_t>(0).put<std::uint16_t>(0);
  out.put<std::uint16_t>(0).put(kDate).put(member.crc).put(kFull).put(kFull);
  out.put(static_cast<std::uint16_t>(member.name.size())).put<std::uint16_t>(20);
  out.text(member.name).put<std::uint16_t>(1).put<std::uint16_t>(16);
  return out.put(member.size).put(member.size).str();
}

/// Extra field 1 with those of the values that do not fit 32 bits.
std::string wide_extra(std::initializer_list<std::uint64_t> values) {
  Record wide;
  for (const std::uint64_t value : values) {
    if (value >= kFull) wide.put(value);
  }
  if (wide.str().empty()) return {};
  return Record()
      .put<std::uint16_t>(1)
      .put(static_cast<std::uint16_t>(wide.str().size()))
      .text(wide.str())
      .str();
}

std::uint32_t narrow_value(std::uint64_t value) {
  return value >= kFull ? kFull : static_cast<std::uint32_t>(value);
}

std::string central_header(const Member& member) {
  const std::string extra = wide_extra({member.size, member.size, member.offset});
  Record out;
  out.put<std::uint32_t>(0x02014b50).put(kVersion).put(kVersion).put<std::uint16_t>(0);
  out.put<std::uint16_t>(0).put<std::uint16_t>(0).put(kDate).put(member.crc);
  out.put(narrow_value(member.size)).put(narrow_value(member.size));
  out.put(static_cast<std::uint16_t>(member.name.size()));
  out.put(static_cast<std::uint16_t>(extra.size())).put<std::uint16_t>(0).put<std::uint16_t>(0);
  out.put<std::uint16_t>(0).put<std::uint32_t>(0).put(narrow_value(member.offset));
  return out.text(member.name).text(extra).str();
}

/// The ZIP64 end record and its locator, then the classic end record, which always stands last.
std::string end_records(std::uint64_t count, std::uint64_t at, std::uint64_t size) {
  Record out;
  out.put<std::uint32_t>(0x06064b50).put<std::uint64_t>(44).put(kVersion).put(kVersion);
  out.put<std::uint32_t>(0).put<std::uint32_t>(0).put(count).put(count).put(size).put(at);
  out.put<std::uint32_t>(0x07064b50).put<std::uint32_t>(0).put(at + size).put<std::uint32_t>(1);
  const auto entries = static_cast<std::uint16_t>(std::min<std::uint64_t>(count, 0xFFFF));
  out.put<std::uint32_t>(0x06054b50).put<std::uint16_t>(0).put<std::uint16_t>(0);
  out.put(entries).put(entries).put(narrow_value(size)).put(narrow_value(at));
  return out.put<std::uint16_t>(0).str();
}

}  // namespace

void save_npz(const fs::path& path, const std::vector<NpyOutput>& arrays) {
  AtomicFile file(path);
  std::string directory;
  for (const NpyOutput& array : arrays) {
    Member member = make_member(array);
    member.offset = file.written();
    file.write(std::string_view(local_header(member)));
    file.write(std::string_view(member.header));
    file.write(member.data);
    directory += central_header(member);
  }
  const std::uint64_t at = file.written();
  file.write(std::string_view(directory));
  file.write(std::string_view(end_records(arrays.size(), at, directory.size())));
  file.commit();
}

}  // namespace lancet
