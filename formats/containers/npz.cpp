// npy: "\x93NUMPY", major, minor, header length u16 (1.0) or u32, a Python dict literal
#include "formats/containers/npz.h"

#include <charconv>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/containers/zip.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "npz";

/// Value of `key` in the dict literal: text between quotes, True / False, or the inside of a tuple.
std::string_view dict_value(const OffsetReader& in, std::string_view dict, std::string_view key,
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

std::uint64_t item_size(const OffsetReader& in, std::string_view descr, std::uint64_t offset) {
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

std::vector<std::int64_t> parse_shape(const OffsetReader& in, std::string_view text,
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

NpyArray parse_array(const OffsetReader& in, const ZipMember& member) {
  constexpr std::string_view kMagic = "\x93NUMPY";
  const std::uint64_t at = member.offset;
  if (member.data.size() < 10 || in.text(at, 6) != kMagic)
    in.bad(at, "an npy array", printable(member.name));
  const auto major = in.at<std::uint8_t>(at + 6);
  if (major < 1 || major > 3 || (major > 1 && member.data.size() < 12))
    in.bad(at, "npy version 1, 2 or 3", std::to_string(major));
  const std::uint64_t length =
      major == 1 ? in.at<std::uint16_t>(at + 8) : in.at<std::uint32_t>(at + 8);
  const std::uint64_t begin = major == 1 ? 10 : 12;
  if (begin + length > member.data.size())
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
  if (!bytes || *bytes != member.data.size() - begin - length) {
    in.bad(at, fmt::format("{} bytes of data", bytes ? std::to_string(*bytes) : "2^64 or more"),
           std::to_string(member.data.size() - begin - length));
  }
  array.data = in.part(at + begin + length, *bytes);
  return array;
}

}  // namespace

std::vector<NpyArray> parse_npz(Bytes file, std::string_view source) {
  const OffsetReader in(file, kOperation, source);
  std::vector<NpyArray> arrays;
  for (const ZipMember& member : parse_zip(in)) arrays.push_back(parse_array(in, member));
  return arrays;
}

NpyArray parse_npy(Bytes file, std::string_view source) {
  return parse_array({file, kOperation, source}, {std::string(source), 0, file});
}

double npy_number(const NpyArray& array, std::uint64_t i, std::string_view source) {
  const auto read = [&]<typename T>(T) {
    if ((i + 1) * sizeof(T) > array.data.size()) {
      fail(ErrorKind::kInput, kOperation,
           fmt::format("array '{}': expected element {} ({})", array.name, i, source));
    }
    return static_cast<double>(load_le<T>(array.data.data() + i * sizeof(T)));
  };
  if (array.descr == "<f4") return read(float{});
  if (array.descr == "<f8") return read(double{});
  if (array.descr == "<i8") return read(std::int64_t{});
  if (array.descr == "<i4") return read(std::int32_t{});
  fail(ErrorKind::kInput, kOperation,
       fmt::format("array '{}': expected f4, f8, i4 or i8, found {} ({})", array.name,
                   printable(array.descr), source));
}

}  // namespace lancet
