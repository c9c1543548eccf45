// Layout (PKWARE APPNOTE 6.3, NumPy's npy format):
//   end of central directory "PK\5\6": entries u16 @10, directory size u32 @12, offset u32 @16,
//   comment u16 @20 ZIP64 locator "PK\6\7" before it: offset of the ZIP64 end record "PK\6\6"
//   (entries u64 @32, size @40, offset @48) central header "PK\1\2": flags @8, method @10, packed
//   u32 @20, size u32 @24, name @28, extra @30, comment @32,
//     local offset u32 @42; extra field 1 holds the u64 values of those that are 0xFFFFFFFF, in
//     this order: size, packed, offset
//   local header "PK\3\4": name length @26, extra length @28, data behind them
//   npy: "\x93NUMPY", major, minor, header length u16 (1.0) or u32, a Python dict literal
#include "formats/containers/npz.h"

#include <algorithm>
#include <charconv>
#include <set>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::uint64_t kEndSize = 22;
constexpr std::uint32_t kFull = 0xFFFFFFFF;

class Reader {
 public:
  Reader(Bytes file, std::string_view source) : file_(file), source_(source) {}

  template <typename T>
  [[nodiscard]] T at(std::uint64_t offset) const {
    return load_le<T>(part(offset, sizeof(T)).data());
  }
  [[nodiscard]] Bytes part(std::uint64_t offset, std::uint64_t size) const {
    const auto end = checked_add(offset, size);
    if (!end || *end > file_.size()) {
      bad(offset, fmt::format("{} bytes", size),
          fmt::format("the end of the file at {}", file_.size()));
    }
    return file_.subspan(offset, size);
  }
  [[nodiscard]] std::string_view text(std::uint64_t offset, std::uint64_t size) const {
    const Bytes bytes = part(offset, size);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  [[nodiscard]] std::uint64_t size() const { return file_.size(); }
  [[noreturn]] void bad(std::uint64_t offset, std::string_view expected,
                        std::string_view found) const {
    fail(ErrorKind::kInput, "npz",
         fmt::format("expected {}, found {} ({}, offset {})", expected, found, source_, offset));
  }

 private:
  Bytes file_;
  std::string_view source_;
};

struct Directory {
  std::uint64_t entries = 0, size = 0, offset = 0;
};

struct Member {
  std::string name;
  std::uint64_t header = 0, data = 0, size = 0;
};

Directory find_directory(const Reader& in) {
  if (in.size() < kEndSize) in.bad(0, "a zip archive", fmt::format("{} bytes", in.size()));
  const std::uint64_t lowest = in.size() - std::min<std::uint64_t>(in.size(), kEndSize + 0xFFFF);
  for (std::uint64_t at = in.size() - kEndSize;; --at) {
    if (in.at<std::uint32_t>(at) == 0x06054b50 &&
        at + kEndSize + in.at<std::uint16_t>(at + 20) == in.size()) {
      Directory out{in.at<std::uint16_t>(at + 10), in.at<std::uint32_t>(at + 12),
                    in.at<std::uint32_t>(at + 16)};
      if (at >= 20 && in.at<std::uint32_t>(at - 20) == 0x07064b50) {
        const auto end = in.at<std::uint64_t>(at - 12);
        if (in.at<std::uint32_t>(end) != 0x06064b50)
          in.bad(end, "a ZIP64 end record", "other bytes");
        (void)in.part(end, 56);
        out = {in.at<std::uint64_t>(end + 32), in.at<std::uint64_t>(end + 40),
               in.at<std::uint64_t>(end + 48)};
      }
      (void)in.part(out.offset, out.size);
      return out;
    }
    if (at == lowest) break;
  }
  in.bad(in.size() - kEndSize, "the end record of a zip archive", "none");
}

/// The 64-bit values of extra field 1, in their order.
std::vector<std::uint64_t> zip64_values(const Reader& in, std::uint64_t offset,
                                        std::uint64_t size) {
  std::vector<std::uint64_t> values;
  const std::uint64_t end = offset + size;
  while (offset + 4 <= end) {
    const auto id = in.at<std::uint16_t>(offset);
    const std::uint64_t length = in.at<std::uint16_t>(offset + 2);
    if (offset + 4 + length > end)
      in.bad(offset, "an extra field inside its header", fmt::format("{} bytes", length));
    if (id == 1) {
      for (std::uint64_t i = 0; i + 8 <= length; i += 8)
        values.push_back(in.at<std::uint64_t>(offset + 4 + i));
    }
    offset += 4 + length;
  }
  return values;
}

Member read_member(const Reader& in, std::uint64_t at, std::uint64_t& next) {
  if (in.at<std::uint32_t>(at) != 0x02014b50)
    in.bad(at, "a central directory header", "other bytes");
  (void)in.part(at, 46);
  const std::uint64_t name = in.at<std::uint16_t>(at + 28), extra = in.at<std::uint16_t>(at + 30);
  next = at + 46 + name + extra + in.at<std::uint16_t>(at + 32);
  Member member;
  member.name = std::string(in.text(at + 46, name));
  if ((in.at<std::uint16_t>(at + 8) & 1U) != 0)
    in.bad(at, "a member that is not encrypted", printable(member.name));
  if (const auto method = in.at<std::uint16_t>(at + 10); method != 0) {
    in.bad(at, "stored members (numpy.savez, not savez_compressed)",
           fmt::format("method {}", method));
  }
  std::uint64_t packed = in.at<std::uint32_t>(at + 20), size = in.at<std::uint32_t>(at + 24);
  std::uint64_t local = in.at<std::uint32_t>(at + 42);
  const auto wide = zip64_values(in, at + 46 + name, extra);
  std::size_t used = 0;
  for (std::uint64_t* value : {&size, &packed, &local}) {
    if (*value != kFull) continue;
    if (used == wide.size()) in.bad(at, "a ZIP64 size", "none");
    *value = wide[used++];
  }
  if (packed != size) in.bad(at, fmt::format("{} stored bytes", size), std::to_string(packed));
  if (in.at<std::uint32_t>(local) != 0x04034b50) in.bad(local, "a local header", "other bytes");
  member.header = local;
  member.data = local + 30 + in.at<std::uint16_t>(local + 26) + in.at<std::uint16_t>(local + 28);
  member.size = size;
  (void)in.part(member.data, member.size);
  return member;
}

/// Value of `key` in the dict literal: text between quotes, True / False, or the inside of a tuple.
std::string_view dict_value(const Reader& in, std::string_view dict, std::string_view key,
                            std::uint64_t offset) {
  const std::string quoted = fmt::format("'{}':", key);
  const std::size_t at = dict.find(quoted);
  if (at == std::string_view::npos)
    in.bad(offset, fmt::format("key '{}' in an npy header", key), "none");
  std::string_view rest = dict.substr(at + quoted.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  if (rest.empty()) in.bad(offset, fmt::format("a value of '{}'", key), "nothing");
  const char open = rest.front();
  const char close = open == '\'' ? '\'' : open == '(' ? ')' : ',';
  const std::size_t skip = close == ',' ? 0 : 1;
  const std::size_t end = rest.find(close, skip);
  if (end == std::string_view::npos)
    in.bad(offset, fmt::format("a whole value of '{}'", key), "the end of the header");
  return rest.substr(skip, end - skip);
}

std::uint64_t item_size(const Reader& in, std::string_view descr, std::uint64_t offset) {
  if (descr.size() < 3) in.bad(offset, "an npy type", printable(descr));
  std::uint64_t size = 0;
  const auto [end, error] = std::from_chars(descr.data() + 2, descr.data() + descr.size(), size);
  const bool known = descr[0] == '<' || descr[0] == '|';
  if (error != std::errc{} || end != descr.data() + descr.size() || !known || descr[1] == 'O' ||
      size == 0) {
    in.bad(offset, "a plain little-endian npy type", printable(descr));
  }
  const auto bytes = checked_mul(size, descr[1] == 'U' ? 4 : 1);
  if (!bytes) in.bad(offset, "an npy type", printable(descr));
  return *bytes;
}

std::vector<std::int64_t> parse_shape(const Reader& in, std::string_view text,
                                      std::uint64_t offset) {
  std::vector<std::int64_t> shape;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(" ,"), text.size()));
    if (text.empty()) return shape;
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || value < 0 || shape.size() == 32)
      in.bad(offset, "an npy shape", printable(text));
    shape.push_back(value);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  }
}

NpyArray parse_array(const Reader& in, const Member& member) {
  constexpr std::string_view kMagic = "\x93NUMPY";
  const std::uint64_t at = member.data;
  if (member.size < 10 || in.text(at, 6) != kMagic)
    in.bad(at, "an npy array", printable(member.name));
  const auto major = in.at<std::uint8_t>(at + 6);
  if (major < 1 || major > 3 || (major > 1 && member.size < 12))
    in.bad(at, "npy version 1, 2 or 3", std::to_string(major));
  const std::uint64_t length =
      major == 1 ? in.at<std::uint16_t>(at + 8) : in.at<std::uint32_t>(at + 8);
  const std::uint64_t begin = major == 1 ? 10 : 12;
  if (begin + length > member.size)
    in.bad(at, "an npy header inside its member", fmt::format("{} bytes", length));
  const std::string_view dict = in.text(at + begin, length);
  NpyArray array;
  array.name =
      member.name.ends_with(".npy") ? member.name.substr(0, member.name.size() - 4) : member.name;
  array.descr = std::string(dict_value(in, dict, "descr", at));
  array.fortran = dict_value(in, dict, "fortran_order", at).starts_with("True");
  array.shape = parse_shape(in, dict_value(in, dict, "shape", at), at);
  std::optional<std::uint64_t> bytes = item_size(in, array.descr, at);
  for (const std::int64_t dim : array.shape) {
    if (bytes) bytes = checked_mul(*bytes, static_cast<std::uint64_t>(dim));
  }
  if (!bytes || *bytes != member.size - begin - length) {
    in.bad(at, fmt::format("{} bytes of data", bytes ? std::to_string(*bytes) : "2^64 or more"),
           std::to_string(member.size - begin - length));
  }
  array.data = in.part(at + begin + length, *bytes);
  return array;
}

}  // namespace

std::vector<NpyArray> parse_npz(Bytes file, std::string_view source) {
  const Reader in(file, source);
  const Directory directory = find_directory(in);
  if (directory.entries > directory.size / 46) {
    in.bad(directory.offset, "a directory that holds its entries",
           fmt::format("{} entries in {} bytes", directory.entries, directory.size));
  }
  std::vector<Member> members;
  std::set<std::string> names;
  std::uint64_t at = directory.offset;
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    members.push_back(read_member(in, at, at));
    if (!names.insert(members.back().name).second)
      in.bad(at, "one member of a name", printable(members.back().name) + " twice");
  }
  std::ranges::sort(members, {}, &Member::header);
  for (std::size_t i = 1; i < members.size(); ++i) {
    if (members[i - 1].data + members[i - 1].size > members[i].header) {
      in.bad(members[i].header, "members that do not overlap", printable(members[i].name));
    }
  }
  std::vector<NpyArray> arrays;
  arrays.reserve(members.size());
  for (const Member& member : members) arrays.push_back(parse_array(in, member));
  return arrays;
}

NpyArray parse_npy(Bytes file, std::string_view source) {
  const Reader in(file, source);
  Member member;
  member.name = source;
  member.size = file.size();
  return parse_array(in, member);
}

double npy_number(const NpyArray& array, std::uint64_t i, std::string_view source) {
  const auto read = [&]<typename T>(T) {
    if ((i + 1) * sizeof(T) > array.data.size()) {
      fail(ErrorKind::kInput, "npz",
           fmt::format("array '{}': expected element {} ({})", array.name, i, source));
    }
    return static_cast<double>(load_le<T>(array.data.data() + i * sizeof(T)));
  };
  if (array.descr == "<f4") return read(float{});
  if (array.descr == "<f8") return read(double{});
  if (array.descr == "<i8") return read(std::int64_t{});
  if (array.descr == "<i4") return read(std::int32_t{});
  fail(ErrorKind::kInput, "npz",
       fmt::format("array '{}': expected f4, f8, i4 or i8, found {} ({})", array.name,
                   printable(array.descr), source));
}

}  // namespace lancet
