#include "tests/attacks/gguf_attacks.h"

#include <utility>

namespace lancet::attacks {
namespace {

using B = GgufBuilder;
constexpr std::uint64_t kHuge = 1ULL << 63;

class Collector {
 public:
  /// One attack: the valid file, changed.
  void add(std::string title, std::string expected, const std::function<void(B&)>& change) {
    B builder = small_valid_gguf();
    change(builder);
    attacks_.push_back({std::move(title), builder.build(), std::move(expected)});
  }
  void add_bytes(std::string title, std::string expected, std::string bytes) {
    attacks_.push_back({std::move(title), std::move(bytes), std::move(expected)});
  }
  /// The valid file with one more metadata entry.
  void add_entry(std::string title, std::string expected, const std::string& entry) {
    add(std::move(title), std::move(expected), [&](B& b) { b.keys.push_back(entry); });
  }
  [[nodiscard]] std::vector<GgufAttack> take() { return std::move(attacks_); }

 private:
  std::vector<GgufAttack> attacks_;
};

void add_header_attacks(Collector& out) {
  out.add_bytes("an empty file", "4 bytes of magic", "");
  out.add_bytes("three bytes", "4 bytes of magic", "GGU");
  out.add("a bad magic", "the magic 'GGUF'", [](B& b) { b.magic = 0x46554748; });
  out.add("the magic of a safetensors file", "the magic 'GGUF'",
          [](B& b) { b.magic = 0x00000040; });
  out.add("a byte-swapped magic", "the magic 'GGUF'", [](B& b) { b.magic = 0x47475546; });
  out.add("version 0", "found version 0", [](B& b) { b.version = 0; });
  out.add("version 1", "version 1, of 32-bit counts", [](B& b) { b.version = 1; });
  out.add("a version of the future", "found version 4", [](B& b) { b.version = 4; });
  out.add("version 2^32 - 1", "found version 4294967295", [](B& b) { b.version = UINT32_MAX; });
  out.add("a big-endian version 3", "big-endian", [](B& b) { b.version = 0x03000000; });
  out.add("a big-endian version 2", "big-endian", [](B& b) { b.version = 0x02000000; });
  for (const std::uint64_t count : {kHuge, std::uint64_t{UINT64_MAX - 1}, std::uint64_t{1000},
                                    kHuge / 25, std::uint64_t{1} << 32}) {
    out.add("a tensor count of " + std::to_string(count), "tensor count of at most",
            [&](B& b) { b.tensor_count = count; });
    out.add("a metadata count of " + std::to_string(count), "metadata count of at most",
            [&](B& b) { b.key_count = count; });
  }
  out.add("one tensor too many in the count", "tensor", [](B& b) { b.tensor_count = 3; });
  out.add("one tensor too few in the count", "the end of the file behind the last tensor",
          [](B& b) { b.tensor_count = 1; });
  out.add("one key too many in the count", "", [](B& b) { b.key_count = 5; });
  out.add("one key too few in the count", "", [](B& b) { b.key_count = 3; });
}

void add_key_attacks(Collector& out) {
  out.add_entry("an empty key", "an empty one", B::entry("", kU8, B::number<std::uint8_t>(1)));
  out.add_entry("a key of 65536 bytes", "at most 65535 bytes",
                B::entry(std::string(65536, 'k'), kU8, B::number<std::uint8_t>(1)));
  out.add_entry("a key with a NUL", "without control characters",
                B::entry(std::string("a\0b", 3), kU8, B::number<std::uint8_t>(1)));
  out.add_entry("a key with an escape sequence", "without control characters",
                B::entry("a\x1b[2J", kU8, B::number<std::uint8_t>(1)));
  out.add_entry("a key that is no UTF-8", "UTF-8 in the key",
                B::entry("a\xC3", kU8, B::number<std::uint8_t>(1)));
  out.add_entry("a duplicate key", "every key once",
                B::entry("test.number", kU8, B::number<std::uint8_t>(1)));
  out.add_entry("a duplicate key of the same value", "every key once",
                B::entry("general.architecture", kString, B::text("llama")));
  for (const std::uint64_t length :
       {kHuge, std::uint64_t{UINT64_MAX}, std::uint64_t{UINT64_MAX - 7}, std::uint64_t{100000}}) {
    out.add_entry("a key length of " + std::to_string(length), "bytes of key",
                  B::number(length) + "abc");
    out.add_entry("a string length of " + std::to_string(length), "bytes of string",
                  B::entry("test.s", kString, B::number(length) + "abc"));
  }
  for (const std::uint32_t type : {13U, 255U, UINT32_MAX}) {
    out.add_entry("value type " + std::to_string(type), "a valid value type (0 to 12)",
                  B::entry("test.v", type, B::number<std::uint64_t>(1)));
  }
  out.add_entry("a bool of 2", "a bool of 0 or 1",
                B::entry("test.b", kBool, B::number<std::uint8_t>(2)));
  out.add_entry("a bool of 255", "a bool of 0 or 1",
                B::entry("test.b", kBool, B::number<std::uint8_t>(255)));
  out.add_entry("a string that is no UTF-8", "UTF-8 in the string",
                B::entry("test.s", kString, B::text("\xFF\xFE")));
  out.add_entry("a string with a surrogate", "UTF-8 in the string",
                B::entry("test.s", kString, B::text("\xED\xA0\x80")));
}

/// An array entry of `depth` nested arrays.
std::string nested(std::size_t depth) {
  std::string value;
  for (std::size_t i = 0; i < depth; ++i) value += B::number(kArray) + B::number<std::uint64_t>(1);
  return value + B::array(kU8, 1, "x");
}

void add_array_attacks(Collector& out) {
  out.add_entry("an array of arrays", "an array of arrays", B::entry("test.a", kArray, nested(1)));
  out.add_entry("arrays 10000 deep", "an array of arrays",
                B::entry("test.a", kArray, nested(10000)));
  out.add_entry("arrays 100000 deep", "an array of arrays",
                B::entry("test.a", kArray, nested(100000)));
  out.add_entry("an element type of 13", "a valid element type (0 to 12)",
                B::entry("test.a", kArray, B::array(13, 1, "x")));
  out.add_entry("an element type of 2^32 - 1", "a valid element type (0 to 12)",
                B::entry("test.a", kArray, B::array(UINT32_MAX, 1, "x")));
  for (const std::uint32_t type : {kU8, kU16, kF32, kU64, kString, kBool}) {
    for (const std::uint64_t count :
         {kHuge, std::uint64_t{UINT64_MAX}, std::uint64_t{1} << 61, std::uint64_t{5000}}) {
      out.add_entry("an array of " + std::to_string(count) + " of type " + std::to_string(type),
                    "array length of at most",
                    B::entry("test.a", kArray, B::array(type, count, "12345678")));
    }
  }
  out.add_entry("a bool array with a 2", "a bool of 0 or 1",
                B::entry("test.a", kArray, B::array(kBool, 3, std::string("\0\1\2", 3))));
  out.add_entry("an array of strings, one too long", "bytes of string",
                B::entry("test.a", kArray, B::array(kString, 2, B::text("a") + B::number(kHuge))));
  out.add_entry("an array of strings, one not UTF-8", "UTF-8 in the string",
                B::entry("test.a", kArray, B::array(kString, 2, B::text("a") + B::text("\x80"))));
  constexpr std::uint64_t kMany = 6'000'000;
  out.add_entry("six million empty strings", "more than its own size in memory",
                B::entry("test.a", kArray, B::array(kString, kMany, std::string(8 * kMany, '\0'))));
}

void add_alignment_attacks(Collector& out) {
  const auto align = [](std::uint32_t value) {
    return B::entry("general.alignment", kU32, B::number(value));
  };
  for (const std::uint32_t value : {0U, 3U, 24U, 1U << 31, 1U << 21, UINT32_MAX}) {
    out.add_entry("an alignment of " + std::to_string(value), "a power of two", align(value));
  }
  const std::uint64_t wide = 32;
  out.add_entry("an alignment of type u64", "an alignment of type u32",
                B::entry("general.alignment", kU64, B::number(wide)));
  out.add_entry("an alignment of type i32", "an alignment of type u32",
                B::entry("general.alignment", kI32, B::number<std::int32_t>(32)));
  out.add_entry("an alignment that is a string", "an alignment of type u32",
                B::entry("general.alignment", kString, B::text("32")));
  out.add_entry(
      "an alignment that is an array", "an alignment of type u32",
      B::entry("general.alignment", kArray, B::array(kU32, 1, B::number<std::uint32_t>(32))));
  out.add("an alignment that the offsets do not keep", "right behind the one before it", [&](B& b) {
    b.keys.push_back(align(64));
    b.alignment = 64;
    b.tensors[0].dims = {4};  // 16 bytes: the next tensor belongs at 64, the file says 32
  });
}

void add_name_attacks(Collector& out) {
  const std::vector<std::pair<std::string, std::string>> names = {
      {"", "an empty one"},
      {std::string(65, 'n'), "at most 64 bytes"},
      {std::string(70000, 'n'), "at most 64 bytes"},
      {std::string("a\0b", 3), "without control characters"},
      {std::string("\0", 1), "without control characters"},
      {"a\nb", "without control characters"},
      {"a\x7F", "without control characters"},
      {"../../etc/passwd", "without '..'"},
      {"a/../b", "without '..'"},
      {"..", "without '..'"},
      {"a\\..\\b", "without '..'"},
      {"\xC0\xAF", "UTF-8 in the tensor name"},
      {"second.weight", "every tensor name once"},
  };
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string title = "tensor name " + std::to_string(i) + ": " + names[i].second;
    out.add(title, names[i].second, [&](B& b) { b.tensors[0].name = names[i].first; });
  }
  out.add("a tensor name of 2^63 bytes", "bytes of tensor name", [](B& b) {
    b.tensors.clear();
    b.tensor_count = 1;
    b.keys.push_back(B::entry("test.last", kU8, "x") + B::number(kHuge) + std::string(64, 'n'));
    b.key_count = b.keys.size();
  });
}

void add_shape_attacks(Collector& out) {
  const auto dims = [&](std::string title, std::string expected, std::vector<std::uint64_t> value) {
    out.add(std::move(title), std::move(expected), [&](B& b) { b.tensors[0].dims = value; });
  };
  dims("five dimensions", "at most 4 dimensions", {1, 1, 1, 2, 4});
  out.add("2^32 - 2 dimensions", "at most 4 dimensions",
          [](B& b) { b.tensors[0].rank = UINT32_MAX - 1; });
  out.add("a rank of 1 with two dimensions written", "", [](B& b) { b.tensors[0].rank = 1; });
  out.add("a rank of 3 with two dimensions written", "", [](B& b) { b.tensors[0].rank = 3; });
  dims("a zero dimension", "dimensions from 1 up", {4, 0});
  dims("zero as the first dimension", "dimensions from 1 up", {0, 4});
  dims("a negative dimension", "dimensions from 1 up", {4, UINT64_MAX});
  dims("the most negative dimension", "dimensions from 1 up", {kHuge});
  dims("two negative dimensions", "dimensions from 1 up", {UINT64_MAX, UINT64_MAX});
  dims("elements that overflow", "dimensions from 1 up", {1ULL << 32, 1ULL << 32});
  dims("elements that wrap to eight", "dimensions from 1 up", {(1ULL << 61) + 1, 8});
  dims("elements of four dimensions that overflow", "dimensions from 1 up",
       {1ULL << 16, 1ULL << 16, 1ULL << 16, 1ULL << 16});
  dims("bytes that overflow", "less than 2^64 bytes", {1ULL << 62});
  dims("bytes that are too many for the file", "bytes of data at offset", {1ULL << 40});
  dims("an exbibyte", "bytes of data at offset", {1ULL << 58});
  out.add("quantised bytes that overflow", "less than 2^64 bytes", [](B& b) {
    b.tensors[1].dims = {32, (1ULL << 58) - 1};
  });
  out.add("quantised bytes that are too many for the file", "bytes of data at offset", [](B& b) {
    b.tensors[1].dims = {32, 1ULL << 50};
  });
}

void add_type_attacks(Collector& out) {
  for (const std::uint32_t type : {4U, 5U, 31U, 32U, 33U, 36U, 37U, 38U}) {
    out.add("removed type " + std::to_string(type), "removed from ggml",
            [&](B& b) { b.tensors[0].type = type; });
  }
  for (const std::uint32_t type : {9U, 16U, 29U, 34U, 40U, 42U}) {
    out.add("type " + std::to_string(type) + " that we do not read", "quantise",
            [&](B& b) { b.tensors[0].type = type; });
  }
  for (const std::uint32_t type : {43U, 1000U, 1U << 31, UINT32_MAX}) {
    out.add("unknown type " + std::to_string(type), "found type " + std::to_string(type),
            [&](B& b) { b.tensors[0].type = type; });
  }
  for (const std::uint64_t row : {1ULL, 31ULL, 33ULL, 48ULL}) {
    out.add("a Q8_0 row of " + std::to_string(row), "rows of whole Q8_0 blocks of 32", [&](B& b) {
      b.tensors[1].dims = {row, 32};
    });
  }
  out.add("a Q4_K row of 32", "rows of whole Q4_K blocks of 256", [](B& b) {
    b.tensors[1].type = 12;
    b.tensors[1].dims = {32, 8};
  });
  out.add("a Q4_0 scalar", "rows of whole Q4_0 blocks", [](B& b) {
    b.tensors[1].type = 2;
    b.tensors[1].dims = {};
  });
}

void add_offset_attacks(Collector& out) {
  const auto second = [&](std::string title, std::uint64_t offset) {
    out.add(std::move(title), "right behind the one before it",
            [&](B& b) { b.tensors[1].offset = offset; });
  };
  second("a misaligned offset", 33);
  second("an overlapping offset", 0);
  second("an overlap by one byte", 31);
  second("a gap of one alignment", 64);
  second("an offset beyond the file", 1ULL << 40);
  second("an offset of 2^63", kHuge);
  second("an offset that wraps", UINT64_MAX - 31);
  second("an offset of 2^64 - 1", UINT64_MAX);
  out.add("a first tensor that does not start at 0", "right behind the one before it",
          [](B& b) { b.tensors[0].offset = 32; });
  out.add("tensors out of order", "right behind the one before it", [](B& b) {
    b.tensors[0].offset = 64;
    b.tensors[1].offset = 0;
  });
}

void add_size_attacks(Collector& out) {
  const B valid = small_valid_gguf();
  const std::string whole = valid.build();
  const std::size_t header = valid.header().size();
  for (std::size_t size = 4; size < header; ++size) {
    out.add_bytes("cut in the header after " + std::to_string(size) + " bytes", "",
                  whole.substr(0, size));
  }
  const std::size_t data = whole.size() - valid.data.size();
  for (const std::size_t size : {header, header + 1, data - 1, data, data + 1, data + 31, data + 32,
                                 data + 33, data + 32 + 33}) {
    out.add_bytes("cut in the data after " + std::to_string(size) + " bytes",
                  "bytes of data at offset", whole.substr(0, size));
  }
  out.add_bytes("one byte behind the padding", "1 bytes more", whole + "x");
  out.add_bytes("a megabyte behind the padding", "1048576 bytes more",
                whole + std::string(1 << 20, 'x'));
  out.add_bytes("a second file behind the first", "bytes more", whole + whole);
  const B bare = [&] {
    B b = valid;
    b.tensors.clear();
    b.data.clear();
    return b;
  }();
  out.add_bytes("data without tensors", "bytes more", bare.build() + std::string(100, 'x'));
}

}  // namespace

GgufBuilder small_valid_gguf() {
  B b;
  b.keys = {B::entry("general.architecture", kString, B::text("llama")),
            B::entry("test.number", kU32, B::number<std::uint32_t>(7)),
            B::entry("test.flag", kBool, B::number<std::uint8_t>(1)),
            B::entry("test.list", kArray, B::array(kString, 2, B::text("a") + B::text("bc")))};
  b.tensors = {{.name = "first.weight", .dims = {4, 2}, .type = 0, .offset = 0},
               {.name = "second.weight", .dims = {32, 1}, .type = 8, .offset = 32}};
  b.data = std::string(32 + 64, '\x11');  // 32 bytes of F32; 34 of Q8_0, padded to 64
  return b;
}

std::vector<GgufAttack> gguf_attacks() {
  Collector out;
  add_header_attacks(out);
  add_key_attacks(out);
  add_array_attacks(out);
  add_alignment_attacks(out);
  add_name_attacks(out);
  add_shape_attacks(out);
  add_type_attacks(out);
  add_offset_attacks(out);
  add_size_attacks(out);
  return out.take();
}

}  // namespace lancet::attacks
