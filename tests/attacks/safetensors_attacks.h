#pragma once
// Malformed safetensors files and shard directories, made in memory. Each is a small valid file
// with one thing wrong; beside it stands what the error message must say. Also the seed corpus of
// the fuzzer.

#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lancet::attacks {

struct SafetensorsAttack {
  std::string title;
  std::string bytes;
  std::string expected;  ///< a part of the error message
};

inline std::string little_endian(std::uint64_t value) {
  std::string out(8, '\0');
  std::memcpy(out.data(), &value, 8);
  return out;
}

/// Length, header and `data` zero bytes; `length` overrides what the first eight bytes say.
inline std::string safetensors_file(std::string_view header, std::size_t data,
                                    std::uint64_t length = UINT64_MAX) {
  return little_endian(length == UINT64_MAX ? header.size() : length) + std::string(header) +
         std::string(data, '\0');
}

inline std::string entry(std::string_view name, std::string_view dtype, std::string_view shape,
                         std::string_view offsets) {
  std::string out = "\"";
  out.append(name).append(R"(":{"dtype":")").append(dtype).append(R"(","shape":[)").append(shape);
  return out.append(R"(],"data_offsets":[)").append(offsets).append("]}");
}

inline std::string object(std::initializer_list<std::string> entries) {
  std::string out = "{";
  for (const std::string& text : entries) out += (out.size() > 1 ? "," : "") + text;
  return out + "}";
}

/// Two tensors and metadata, 24 bytes of data. Every attack starts here.
inline std::string valid_safetensors_header() {
  return object({R"("__metadata__":{"format":"pt"})", entry("a", "F32", "2,2", "0,16"),
                 entry("b", "BF16", "4", "16,24")});
}
inline std::string valid_safetensors() { return safetensors_file(valid_safetensors_header(), 24); }

/// Nested arrays or objects, `depth` deep.
inline std::string nested(std::string_view open, std::size_t depth) {
  std::string out;
  for (std::size_t i = 0; i < depth; ++i) out += open;
  return out;
}

namespace detail {

using List = std::vector<SafetensorsAttack>;

inline void add_lengths(List& out) {
  const std::string header = valid_safetensors_header();
  out.push_back({"empty file", "", "at least 8 bytes"});
  out.push_back({"seven bytes", std::string(7, '\0'), "at least 8 bytes"});
  out.push_back({"only a length", little_endian(2), "2 bytes of header"});
  out.push_back({"length of zero", safetensors_file("", 0), "expected an object"});
  out.push_back({"length beyond the file", safetensors_file(header, 24, header.size() + 25),
                 "bytes of header"});
  out.push_back(
      {"length of the limit", safetensors_file(header, 24, 100'000'000), "bytes of header"});
  out.push_back(
      {"length above the limit", safetensors_file(header, 24, 100'000'001), "at most 100000000"});
  out.push_back({"length 2^63", safetensors_file(header, 24, 1ULL << 63), "at most 100000000"});
  out.push_back({"length 2^64 - 1", little_endian(UINT64_MAX) + header + std::string(24, '\0'),
                 "at most 100000000"});
  out.push_back(
      {"length 2^64 - 8", safetensors_file(header, 24, UINT64_MAX - 7), "at most 100000000"});
  out.push_back({"top bytes of the length set",
                 safetensors_file(header, 24, header.size() | 0xFFFFFF0000000000ULL),
                 "at most 100000000"});
  out.push_back({"length one short", safetensors_file(header, 24, header.size() - 1), "expected"});
  out.push_back(
      {"length one long", safetensors_file(header, 24, header.size() + 1), "nothing after"});
}

inline void add_syntax(List& out) {
  const auto bad = [&](std::string title, const std::string& header, std::string expected,
                       std::size_t data = 0) {
    out.push_back({std::move(title), safetensors_file(header, data), std::move(expected)});
  };
  bad("invalid UTF-8", "{\"\xFF\":1}", "UTF-8");
  bad("overlong UTF-8", "{\"\xC0\xAF\":1}", "UTF-8");
  bad("surrogate in UTF-8", "{\"\xED\xA0\x80\":1}", "UTF-8");
  bad("byte order mark", "\xEF\xBB\xBF{}", "expected an object");
  bad("brace alone", "{", "a key");
  bad("array as header", "[]", "expected an object");
  bad("string as header", "\"x\"", "expected an object");
  bad("number as header", "1", "expected an object");
  bad("null as header", "null", "expected an object");
  bad("two objects", "{}{}", "nothing after");
  bad("text after the object", "{}x", "nothing after");
  bad("NUL after the object", std::string("{}\0", 3), "nothing after");
  bad("comment", "{/* */}", "a key");
  bad("single quotes", "{'a':1}", "a key");
  bad("bare key", "{a:1}", "a key");
  bad("comma first", "{,}", "a key");
  bad("comma last", "{" + entry("a", "U8", "1", "0,1") + ",}", "a key", 1);
  bad("no colon", R"({"a"{}})", "':'");
  bad("bare newline in a name", "{\"a\nb\":1}", "control character");
  bad("bad escape", R"({"\x41":1})", "escape");
  bad("short \\u escape", R"({"\u12":1})", "hex digits");
  bad("lone high surrogate", R"({"\ud800":1})", "surrogate");
  bad("lone low surrogate", R"({"\udc00":1})", "surrogate");
  bad("two high surrogates", R"({"\ud800\ud800":1})", "surrogate");
  bad("unterminated name", R"({"abc)", "closing quote");
  bad("unterminated escape", "{\"a\\", "escape");
  bad("form feed as white space", "\f{}", "expected an object");
  bad("objects nested 100,000 deep", nested("{\"a\":", 100'000), "expected");
  bad("arrays nested 100,000 deep in a shape",
      R"({"a":{"dtype":"U8","shape":)" + nested("[", 100'000), "expected a natural");
  bad("metadata nested 100,000 deep", R"({"__metadata__":)" + nested("{\"a\":", 100'000), "string");
}

inline void add_entries(List& out) {
  const auto bad = [&](std::string title, const std::string& entries, std::string expected,
                       std::size_t data = 1) {
    out.push_back(
        {std::move(title), safetensors_file("{" + entries + "}", data), std::move(expected)});
  };
  bad("entry is null", R"("a":null)", "expected an object");
  bad("entry is a number", R"("a":1)", "expected an object");
  bad("entry is an array", R"("a":["U8",[1],[0,1]])", "expected an object");
  bad("entry without fields", R"("a":{})", "field 'dtype'");
  bad("no dtype", R"("a":{"shape":[1],"data_offsets":[0,1]})", "field 'dtype'");
  bad("no shape", R"("a":{"dtype":"U8","data_offsets":[0,1]})", "field 'shape'");
  bad("no offsets", R"("a":{"dtype":"U8","shape":[1]})", "field 'data_offsets'");
  bad("unknown field", R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"strides":[1]})",
      "strides");
  bad("dtype twice", R"("a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]})",
      "dtype");
  bad("shape twice", R"("a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]})", "shape");
  bad("field twice by escape",
      R"("a":{"dtype":"U8","shape":[1],"sh\u0061pe":[1],"data_offsets":[0,1]})", "shape");
  bad("dtype as a map", R"("a":{"dtype":{"U8":null},"shape":[1],"data_offsets":[0,1]})",
      "a string for dtype");
  bad("dtype as a number", R"("a":{"dtype":8,"shape":[1],"data_offsets":[0,1]})",
      "a string for dtype");
  bad("unknown dtype", entry("a", "U128", "1", "0,1"), "U128");
  bad("dtype in lower case", entry("a", "u8", "1", "0,1"), "u8");
  bad("a GGUF type", entry("a", "Q4_0", "32", "0,18"), "Q4_0", 18);
  bad("dtype of 100 bytes", entry("a", std::string(100, 'F'), "1", "0,1"), "at most 64");
  bad("shape as a number", R"("a":{"dtype":"U8","shape":1,"data_offsets":[0,1]})",
      "array for shape");
  bad("nested shape", entry("a", "U8", "[1]", "0,1"), "a natural number");
  bad("dimension as text", entry("a", "U8", "\"1\"", "0,1"), "a natural number");
  bad("dimension with exponent", entry("a", "U8", "1e0", "0,1"), "a natural number");
  bad("dimension with fraction", entry("a", "U8", "1.0", "0,1"), "a natural number");
  bad("negative dimension", entry("a", "U8", "-1", "0,1"), "a natural number");
  bad("minus zero", entry("a", "U8", "-0", "0,0"), "a natural number", 0);
  bad("plus sign", entry("a", "U8", "+1", "0,1"), "a natural number");
  bad("leading zero", entry("a", "U8", "01", "0,1"), "leading zeros");
  bad("hex dimension", entry("a", "U8", "0x1", "0,1"), "','");
  bad("dimension 2^64", entry("a", "U8", "18446744073709551616", "0,1"), "below 2^64");
  bad("dimension of 1000 digits", entry("a", "U8", std::string(1000, '9'), "0,1"), "below 2^64");
  bad("dimension 2^64 - 1", entry("a", "U8", "18446744073709551615", "0,1"), "at most 2^48");
  bad("dimension 2^48 + 1", entry("a", "U8", "281474976710657", "0,1"), "at most 2^48");
  bad("zero times 2^63", entry("a", "U8", "0,9223372036854775808", "0,0"), "at most 2^48", 0);
  bad("product of 2^96", entry("a", "U8", "281474976710656,281474976710656", "0,1"),
      "fewer than 2^64");
  bad("product that wraps to 4", entry("a", "U8", "4294967296,4294967296,4", "0,4"),
      "fewer than 2^64", 4);
  bad("bits that wrap", entry("a", "F64", "281474976710656,16384", "0,1"), "2^64 bits");
  bad("17 dimensions", entry("a", "U8", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "0,1"), "at most 16");
  bad("a million dimensions",
      entry("a", "U8", std::string(2'000'000, '1').replace(1, 1, ","), "0,1"), "below 2^64");
  bad("F4 of three elements", entry("a", "F4", "1,3", "0,2"), "whole bytes", 2);
  bad("F6 of two elements", entry("a", "F6_E2M3", "2", "0,2"), "whole bytes", 2);
  bad("one offset", entry("a", "U8", "1", "0"), "two data_offsets");
  bad("three offsets", entry("a", "U8", "1", "0,1,2"), "two data_offsets");
  bad("no offset", entry("a", "U8", "1", ""), "two data_offsets");
  bad("offsets the wrong way round", entry("a", "U8", "1", "1,0"), "in order");
  bad("offset with exponent", entry("a", "U8", "1", "0,1e0"), "a natural number");
  bad("offset as text", entry("a", "U8", "1", "0,\"1\""), "a natural number");
  bad("offset 2^64", entry("a", "U8", "1", "0,18446744073709551616"), "below 2^64");
}

inline void add_names(List& out) {
  const auto bad = [&](std::string title, const std::string& entries, std::string expected,
                       std::size_t data = 1) {
    out.push_back(
        {std::move(title), safetensors_file("{" + entries + "}", data), std::move(expected)});
  };
  bad("escaped NUL in a name", entry("a\\u0000b", "U8", "1", "0,1"), "control character");
  bad("escape character in a name", entry("a\\u001b[31m", "U8", "1", "0,1"), "control character");
  bad("delete in a name", entry("a\\u007f", "U8", "1", "0,1"), "control character");
  bad("name that climbs", entry("../../etc/passwd", "U8", "1", "0,1"), "found a path");
  bad("name that climbs with backslashes", entry("..\\\\x", "U8", "1", "0,1"), "found a path");
  bad("name that climbs inside", entry("a/../b", "U8", "1", "0,1"), "found a path");
  bad("name of two dots", entry("..", "U8", "1", "0,1"), "found a path");
  bad("absolute name", entry("/etc/passwd", "U8", "1", "0,1"), "found a path");
  bad("name of 4097 bytes", entry(std::string(4097, 'n'), "U8", "1", "0,1"), "at most 4096");
  bad("name of a million bytes", entry(std::string(1'000'000, 'n'), "U8", "1", "0,1"),
      "at most 4096");
  bad("name twice, same range", entry("w", "U8", "4", "0,4") + "," + entry("w", "F32", "1", "0,4"),
      "'w'", 4);
  bad("name twice, other range", entry("w", "U8", "2", "0,2") + "," + entry("w", "U8", "2", "2,4"),
      "'w'", 4);
  bad("name twice by escape",
      entry("w", "U8", "2", "0,2") + "," + entry("\\u0077", "U8", "2", "2,4"), "'w'", 4);
  bad("zero-size name twice", entry("w", "U8", "0", "0,0") + "," + entry("w", "U8", "0", "0,0"),
      "'w'", 0);
  bad("metadata twice", R"("__metadata__":{},"__metadata__":{})", "__metadata__", 0);
  bad("metadata twice by escape", R"("__metadata__":{},"\u005f_metadata__":{})", "__metadata__", 0);
  bad("metadata as a tensor", entry("__metadata__", "U8", "1", "0,1"), "string");
  bad("metadata as an array", R"("__metadata__":["format"])", "expected an object", 0);
  bad("metadata value of a number", R"("__metadata__":{"format":1})", "string", 0);
  bad("metadata value of null", R"("__metadata__":{"format":null})", "string", 0);
  bad("metadata value of an object", R"("__metadata__":{"format":{}})", "string", 0);
  bad("metadata key twice", R"("__metadata__":{"format":"pt","format":"tf"})", "format", 0);
  bad("metadata key twice by escape", R"("__metadata__":{"format":"pt","form\u0061t":"tf"})",
      "format", 0);
  bad("metadata of 17 MiB", R"("__metadata__":{"x":")" + std::string(17 << 20, 'x') + "\"}",
      "at most 16777216", 0);
}

inline void add_layout(List& out) {
  const auto bad = [&](std::string title, const std::string& entries, std::string expected,
                       std::size_t data) {
    out.push_back(
        {std::move(title), safetensors_file("{" + entries + "}", data), std::move(expected)});
  };
  bad("shape larger than the range", entry("a", "I32", "2,2", "0,4"), "16 bytes", 4);
  bad("range larger than the shape", entry("a", "I32", "1", "0,8"), "4 bytes", 8);
  bad("scalar without data", entry("a", "I32", "", "0,0"), "4 bytes", 0);
  bad("data for a zero dimension", entry("a", "I32", "2,0", "0,4"), "0 bytes", 4);
  bad("gap at the start", entry("a", "U8", "1", "1,2"), "gap", 2);
  bad("gap between", entry("a", "U8", "1", "0,1") + "," + entry("b", "U8", "1", "2,3"), "gap", 3);
  bad("overlap by one byte", entry("a", "U8", "2", "0,2") + "," + entry("b", "U8", "2", "1,3"),
      "overlap tensor 'a'", 3);
  bad("same range twice", entry("a", "U8", "2", "0,2") + "," + entry("b", "U8", "2", "0,2"),
      "overlap tensor 'a'", 2);
  bad("one inside the other", entry("a", "U8", "4", "0,4") + "," + entry("b", "U8", "1", "1,2"),
      "overlap tensor 'a'", 4);
  bad("zero-size tensor inside another",
      entry("a", "U8", "4", "0,4") + "," + entry("b", "U8", "0", "2,2"), "overlap tensor 'a'", 4);
  bad("offsets beyond the file", entry("a", "U8", "1000", "0,1000"), "file's end", 10);
  bad("offsets of 2^63", entry("a", "U8", "1", "9223372036854775808,9223372036854775809"), "gap",
      1);
  bad("offsets that wrap with the header",
      entry("a", "U8", "1", "0,1") + "," +
          entry("b", "U8", "1", "18446744073709551614,18446744073709551615"),
      "gap", 1);
  bad("size of 2^48", entry("a", "U8", "281474976710656", "0,281474976710656"), "file's end", 1);
  bad("trailing text", entry("a", "U8", "1", "0,1"), "more bytes", 18);
  bad("trailing byte and no tensor", "", "more bytes", 1);
  bad("two data bytes missing", entry("a", "U8", "16", "0,16"), "file's end", 14);
  out.push_back(
      {"zip appended", valid_safetensors() + "PK\x05\x06" + std::string(18, '\0'), "more bytes"});
  std::string entries;
  for (int i = 0; i < 10; ++i)
    entries += (i > 0 ? "," : "") + entry("t" + std::to_string(i), "U8", "4", "0,4");
  bad("ten tensors on one range", entries, "overlap", 4);
  entries.clear();
  for (int i = 0; i < 100'000; ++i)
    entries += (i > 0 ? "," : "") + entry("t" + std::to_string(i), "U8", "4", "0,4");
  bad("100,000 tensors on one range", entries, "overlap", 4);
  entries.clear();
  for (int i = 0; i < 100'000; ++i) entries += (i > 0 ? "," : "") + entry("t", "U8", "0", "0,0");
  bad("100,000 times one name", entries, "'t'", 0);
}

inline void add_truncations(List& out) {
  const std::string whole = valid_safetensors();
  for (std::size_t size = 8; size < whole.size(); ++size) {
    out.push_back({"cut after byte " + std::to_string(size), whole.substr(0, size), "expected"});
  }
}

}  // namespace detail

/// All attacks on one file, in a fixed order.
inline std::vector<SafetensorsAttack> safetensors_attacks() {
  std::vector<SafetensorsAttack> out;
  detail::add_lengths(out);
  detail::add_syntax(out);
  detail::add_entries(out);
  detail::add_names(out);
  detail::add_layout(out);
  detail::add_truncations(out);
  return out;
}

/// A directory with model.safetensors.index.json and shards.
struct ShardAttack {
  std::string title;
  std::map<std::string, std::string> files;  ///< name -> bytes
  std::string expected;
};

inline std::string index_text(std::string_view weight_map) {
  return R"({"metadata":{"total_size":2},"weight_map":{)" + std::string(weight_map) + "}}";
}

/// Two shards of one byte each. Every attack on a directory starts here.
inline std::map<std::string, std::string> valid_shards() {
  return {
      {"1.safetensors", safetensors_file(object({entry("a", "U8", "1", "0,1")}), 1)},
      {"2.safetensors", safetensors_file(object({entry("b", "U8", "1", "0,1")}), 1)},
      {"model.safetensors.index.json", index_text(R"("a":"1.safetensors","b":"2.safetensors")")}};
}

inline std::vector<ShardAttack> shard_attacks() {
  std::vector<ShardAttack> out;
  const auto with_map = [&](std::string title, std::string_view map, std::string expected) {
    auto files = valid_shards();
    files["model.safetensors.index.json"] = index_text(map);
    out.push_back({std::move(title), std::move(files), std::move(expected)});
  };
  const auto with_index = [&](std::string title, std::string index, std::string expected) {
    auto files = valid_shards();
    files["model.safetensors.index.json"] = std::move(index);
    out.push_back({std::move(title), std::move(files), std::move(expected)});
  };
  with_map("shard above the directory", R"("a":"../1.safetensors","b":"2.safetensors")",
           "../1.safetensors");
  with_map("absolute shard", R"("a":"/etc/passwd","b":"2.safetensors")", "/etc/passwd");
  with_map("shard in a subdirectory", R"("a":"sub/1.safetensors","b":"2.safetensors")",
           "sub/1.safetensors");
  with_map("shard with a backslash", R"("a":"sub\\1.safetensors","b":"2.safetensors")", "path");
  with_map("shard on a drive", R"("a":"C:1.safetensors","b":"2.safetensors")", "path");
  with_map("hidden shard", R"("a":".1.safetensors","b":"2.safetensors")", "hidden");
  with_map("shard of two dots", R"("a":"..","b":"2.safetensors")", "hidden");
  with_map("empty shard name", R"("a":"","b":"2.safetensors")", "empty");
  with_map("NUL in a shard name", R"("a":"1.safetensors\u0000","b":"2.safetensors")", "printable");
  with_map("long shard name", "\"a\":\"" + std::string(300, 's') + "\",\"b\":\"2.safetensors\"",
           "at most 255");
  with_map("missing shard", R"("a":"3.safetensors","b":"2.safetensors")", "3.safetensors");
  with_map("tensor in no shard", R"("a":"1.safetensors","b":"2.safetensors","c":"2.safetensors")",
           "'c'");
  with_map("tensor in the other shard", R"("a":"2.safetensors","b":"1.safetensors")", "'a'");
  with_map("stored tensor that is not mapped", R"("a":"1.safetensors","z":"2.safetensors")", "'b'");
  with_map("tensor mapped twice", R"("a":"1.safetensors","a":"1.safetensors","b":"2.safetensors")",
           "'a'");
  with_map("tensor mapped twice by escape",
           R"("a":"1.safetensors","\u0061":"2.safetensors","b":"2.safetensors")", "'a'");
  with_map("tensor name with NUL", R"("a\u0000":"1.safetensors","b":"2.safetensors")",
           "control character");
  with_map("shard as a number", R"("a":1,"b":"2.safetensors")", "string");
  with_map("shard as a list", R"("a":["1.safetensors"],"b":"2.safetensors")", "string");
  with_map("no tensors", "", "weight_map");
  with_index("empty index", "", "expected an object");
  with_index("index of an array", "[]", "expected an object");
  with_index("index without a map", R"({"metadata":{}})", "weight_map");
  with_index("map of an array", R"({"weight_map":[]})", "expected an object");
  with_index("two maps", R"({"weight_map":{"a":"1.safetensors"},"weight_map":{}})", "weight_map");
  with_index("text after the index", index_text(R"("a":"1.safetensors","b":"2.safetensors")") + "x",
             "nothing after");
  with_index("index cut short", index_text(R"("a":"1.safetensors","b":"2.sa)").substr(0, 70),
             "closing quote");
  with_index("index of invalid UTF-8", "{\"\xFF\":1}", "UTF-8");
  with_index("index nested 100,000 deep", R"({"x":)" + nested("[", 100'000), "deeper nesting");
  auto files = valid_shards();
  files["2.safetensors"] =
      safetensors_file(object({entry("a", "U8", "1", "0,1"), entry("b", "U8", "1", "1,2")}), 2);
  out.push_back({"one tensor in two shards", std::move(files), "'a'"});
  files = valid_shards();
  files["2.safetensors"].pop_back();
  out.push_back({"a shard that is cut short", std::move(files), "2.safetensors"});
  return out;
}

}  // namespace lancet::attacks
