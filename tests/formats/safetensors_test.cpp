// safetensors: the writer against files of the reference library, the reader against what the
// format allows. Malformed files: tests/attacks.

#include "formats/containers/safetensors.h"

#include <cstdlib>
#include <span>

#include "core/error.h"
#include "core/hash.h"
#include "core/json.h"
#include "tests/attacks/safetensors_attacks.h"
#include "tests/catch.h"
#include "tests/formats/scratch.h"

namespace lancet {
namespace {

fs::path golden(const std::string& name) {
  const char* folder = std::getenv("LANCET_TEST_DATA");
  return fs::path(folder != nullptr ? folder : LANCET_TEST_DATA) / "safetensors" / name;
}

SafetensorsHeader parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), file.size(), "test.safetensors");
}

/// Bytes of a golden tensor (tests/oracle/make_safetensors_goldens.py).
std::string pattern(const std::string& name, std::size_t size) {
  std::string out;
  for (std::size_t i = 0; i < size; ++i) out += static_cast<char>((7 * i + name.size()) % 251);
  return out;
}

OutputTensor output(const TensorInfo& tensor) {
  return {tensor.name, tensor.dtype, tensor.shape,
          [tensor](const std::function<void(Bytes)>& emit) {
            const std::string bytes = pattern(tensor.name, tensor.bytes);
            emit(std::as_bytes(std::span(bytes)).first(bytes.size() / 2));
            emit(std::as_bytes(std::span(bytes)).subspan(bytes.size() / 2));
          }};
}

}  // namespace

TEST_CASE(
    "safetensors: the writer gives the reference library's bytes, whatever order the tensors come "
    "in",
    "[safetensors]") {
  const Scratch scratch;
  const Json goldens = read_json(golden("goldens.json"));
  for (const auto& [name, expected] : goldens["cases"].items()) {
    INFO(name);
    const std::string file = read_file(golden(name + ".safetensors"));
    const SafetensorsHeader header = parse(file);
    REQUIRE(header.tensors.size() == expected["tensors"].size());
    std::vector<OutputTensor> tensors;
    for (const Json& listed : expected["tensors"]) {
      const auto found =
          std::ranges::find(header.tensors, listed["name"].get<std::string>(), &TensorInfo::name);
      REQUIRE(found != header.tensors.end());
      CHECK(found->shape == listed["shape"].get<std::vector<std::int64_t>>());
      CHECK(found->bytes == listed["bytes"].get<std::uint64_t>());
      CHECK(file.substr(found->offset, found->bytes) == pattern(found->name, found->bytes));
      tensors.push_back(output(*found));
    }
    for (int turn = 0; turn < 2; ++turn) {
      std::ranges::reverse(tensors);
      const std::string hash =
          save_safetensors(scratch / "out.safetensors", tensors, header.metadata);
      CHECK(read_file(scratch / "out.safetensors") == file);
      CHECK(hash == sha256_hex(file));
    }
  }
}

TEST_CASE("safetensors: white space around the header, scalars and zero dimensions are legal",
          "[safetensors]") {
  const std::string entry =
      attacks::entry("s", "I32", "", "0,4") + "," + attacks::entry("z", "F32", "3,0", "4,4");
  const SafetensorsHeader header =
      parse(attacks::safetensors_file("\r \t\n{" + entry + "} \r\n\t ", 4));
  REQUIRE(header.tensors.size() == 2);
  CHECK(header.tensors[0].shape.empty());
  CHECK(header.tensors[0].bytes == 4);
  CHECK(header.tensors[1].elements() == 0);
}

TEST_CASE("safetensors: several zero-size tensors may share a place", "[safetensors]") {
  const auto zero = [](const char* name, const char* at) {
    return attacks::entry(name, "F32", "0", at);
  };
  const auto file = attacks::safetensors_file(
      attacks::object({zero("x", "0,0"), attacks::entry("a", "U8", "2", "0,2"), zero("y", "2,2"),
                       zero("z", "2,2")}),
      2);
  CHECK(parse(file).tensors.size() == 4);
}

TEST_CASE("safetensors: fields may come in any order and escapes are read", "[safetensors]") {
  const auto file = attacks::safetensors_file(
      R"({"\u00e9\ud83d\ude00\"\/":{"data_offsets":[0,1],"shape":[1],"dtype":"U8"},"__metadata__":{"k\n":"v\u0000"}})",
      1);
  const SafetensorsHeader header = parse(file);
  CHECK(header.tensors.at(0).name == "é😀\"/");
  CHECK(header.metadata.at("k\n") == std::string("v\0", 2));
}

TEST_CASE("safetensors: half-byte types are measured in bits", "[safetensors]") {
  CHECK(parse(attacks::safetensors_file(attacks::object({attacks::entry("a", "F4", "1,2", "0,1")}),
                                        1))
            .tensors.size() == 1);
  CHECK(parse(attacks::safetensors_file(
                  attacks::object({attacks::entry("a", "F6_E3M2", "4", "0,3")}), 3))
            .tensors.size() == 1);
}

TEST_CASE("safetensors: overlapping tensors are refused with both names", "[safetensors]") {
  const auto file =
      attacks::safetensors_file(attacks::object({attacks::entry("first", "U8", "2", "0,2"),
                                                 attacks::entry("second", "U8", "2", "1,3")}),
                                3);
  try {
    static_cast<void>(parse(file));
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kInput);
    CHECK(error.message().find("'first'") != std::string::npos);
    CHECK(error.message().find("'second'") != std::string::npos);
  }
}

TEST_CASE("safetensors: a writer that emits too few or too many bytes leaves no file",
          "[safetensors]") {
  const Scratch scratch;
  for (const std::size_t size : {3U, 5U}) {
    const std::vector<OutputTensor> tensors = {
        {"a", DType::kU8, {4}, [size](const auto& emit) {
           emit(std::as_bytes(std::span(std::string_view("xxxxx", size))));
         }}};
    CHECK_THROWS_AS(save_safetensors(scratch / "out.safetensors", tensors, {}), Error);
    CHECK(scratch.empty());
  }
}

TEST_CASE("safetensors: a quantised tensor cannot be written", "[safetensors]") {
  const Scratch scratch;
  const std::vector<OutputTensor> tensors = {{"a", DType::kQ4_0, {32}, [](const auto&) {}}};
  CHECK_THROWS_AS(save_safetensors(scratch / "out.safetensors", tensors, {}), Error);
  CHECK(scratch.empty());
}

TEST_CASE("dtype: sizes that overflow or do not fill blocks have no bytes", "[dtype]") {
  CHECK(dtype_bytes(DType::kQ4_1, 64) == 40);
  CHECK(dtype_bytes(DType::kF4, 2) == 1);
  CHECK_FALSE(dtype_bytes(DType::kQ4_1, 33));
  CHECK_FALSE(dtype_bytes(DType::kF4, 3));
  CHECK_FALSE(dtype_bytes(DType::kF64, 1ULL << 60));
  CHECK(dtype_bytes(DType::kF32, 0) == 0);
}

TEST_CASE("dtype: every ggml id and safetensors name leads back to its type", "[dtype]") {
  for (int i = 0; i <= static_cast<int>(DType::kMXFP4); ++i) {
    const auto dtype = static_cast<DType>(i);
    if (const auto id = ggml_id(dtype)) CHECK(dtype_from_ggml(*id) == dtype);
    const auto named = dtype_from_safetensors(dtype_info(dtype).name);
    CHECK(named.has_value() != dtype_info(dtype).quantized);
    if (named) CHECK(*named == dtype);
  }
  for (const std::uint32_t removed : {4U, 5U, 31U, 36U, 0xFFFFFFFFU})
    CHECK_FALSE(dtype_from_ggml(removed));
}

TEST_CASE("dtype: what people type is understood in any case, other words are a usage error",
          "[dtype]") {
  CHECK(parse_dtype("bfloat16") == DType::kBF16);
  CHECK(parse_dtype("BF16") == DType::kBF16);
  CHECK(parse_dtype("Float32") == DType::kF32);
  CHECK(parse_dtype("half") == DType::kF16);
  try {
    static_cast<void>(parse_dtype("bfloat61"));
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kUsage);
    CHECK(error.hint().find("bfloat16") != std::string::npos);
  }
}

}  // namespace lancet
