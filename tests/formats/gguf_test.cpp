// GGUF reading and writing, against files of the gguf library (tests/oracle/make_gguf_goldens.py)
// and the embedded model. Malformed files: tests/attacks.

#include "formats/containers/gguf.h"

#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/error.h"
#include "formats/quant/decode.h"
#include "tests/catch.h"
#include "tests/formats/scratch.h"

namespace lancet {
namespace {

using Metadata = std::vector<std::pair<std::string, GgufValue>>;

fs::path golden_path(const std::string& name) {
  const char* folder = std::getenv("LANCET_TEST_DATA");
  return fs::path(folder != nullptr ? folder : LANCET_TEST_DATA) / "gguf" / name;
}

fs::path model_path() {
  const char* path = std::getenv("LANCET_TEST_GGUF");
  return path != nullptr ? path : LANCET_TEST_GGUF;
}

GgufHeader parse(const MappedFile& file) {
  return parse_gguf(file.bytes(), file.size(), file.path().string());
}

Bytes data_of(const MappedFile& file, const TensorInfo& tensor) {
  return file.bytes().subspan(tensor.offset, tensor.bytes);
}

/// The tensors of `file` to be written again unchanged.
std::vector<OutputTensor> as_output(const MappedFile& file, const GgufHeader& header) {
  std::vector<OutputTensor> tensors;
  for (const TensorInfo& info : header.tensors) {
    tensors.push_back({info.name, info.dtype, info.shape, [&file, &info](const auto& emit) {
                         const Bytes bytes = data_of(file, info);
                         emit(bytes.first(bytes.size() / 2));
                         emit(bytes.subspan(bytes.size() / 2));
                       }});
  }
  return tensors;
}

OutputTensor filled(std::string name, DType dtype, std::vector<std::int64_t> shape,
                    std::size_t bytes) {
  return {std::move(name), dtype, std::move(shape),
          [bytes](const auto& emit) { emit(std::vector<std::byte>(bytes)); }};
}

ErrorKind kind_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind();
  }
  return ErrorKind::kUsage;
}

}  // namespace

TEST_CASE("gguf: every metadata type of the reference's writer is read with its value", "[gguf]") {
  const MappedFile file(golden_path("all_types.gguf"));
  const GgufHeader header = parse(file);
  CHECK(header.version == 3);
  CHECK(header.alignment == 64);
  CHECK(header.string("general.architecture") == "llama");
  CHECK(header.integer("test.u8") == 255);
  CHECK(header.integer("test.i8") == -128);
  CHECK(header.integer("test.u16") == 65535);
  CHECK(header.integer("test.i16") == -32768);
  CHECK(header.integer("test.u32") == 4294967295);
  CHECK(header.integer("test.i32") == -2147483648);
  CHECK(header.integer("test.i64") == INT64_MIN);
  CHECK(std::get<std::uint64_t>(header.find("test.u64")->value) == UINT64_MAX);
  CHECK(header.number("test.f32", 0) == static_cast<double>(0.1F));
  CHECK(header.number("test.f64", 0) == 0.1);
  CHECK(header.number("test.u8", 0) == 255.0);
  CHECK(header.boolean("test.true", false));
  CHECK_FALSE(header.boolean("test.false", true));
  CHECK(header.string("test.string") == "Grüße, 世界 🌍");
  CHECK(header.string("test.empty").empty());
  CHECK(*header.strings("test.strings") == std::vector<std::string>{"a", "", "ab", "Ġ t"});
  CHECK(header.integers("test.i32s") == std::vector<std::int64_t>{1, -2, 3});
  CHECK(header.integers("test.u8s") == std::vector<std::int64_t>{0, 128, 255});
  CHECK(header.integers("test.i64s") == std::vector<std::int64_t>{-1, std::int64_t{1} << 40});
  CHECK(header.numbers("test.f32s") == std::vector<double>{0.5, -1.5});
  CHECK(header.numbers("test.f64s") == std::vector<double>{1e300});
  CHECK(std::get<std::vector<std::uint64_t>>(header.find("test.bools")->value) ==
        std::vector<std::uint64_t>{1, 0, 1});
}

TEST_CASE(
    "gguf: tensors of the reference's writer have their shapes, outermost first, and their bytes",
    "[gguf]") {
  const MappedFile file(golden_path("all_types.gguf"));
  const GgufHeader header = parse(file);
  REQUIRE(header.tensors.size() == 8);
  std::vector<float> expected(192);
  for (std::size_t i = 0; i < expected.size(); ++i)
    expected[i] = static_cast<float>(i) / 7.0F - 10.0F;
  for (const TensorInfo& tensor : header.tensors) {
    CHECK(tensor.offset % header.alignment == 0);
    if (tensor.elements() != 192) continue;
    INFO(tensor.name);
    CHECK(tensor.shape == std::vector<std::int64_t>{3, 64});
    std::vector<float> values(192);
    decode_f32(tensor.dtype, data_of(file, tensor), values);
    for (std::size_t i = 0; i < values.size(); ++i) {
      REQUIRE(std::abs(values[i] - expected[i]) <= 0.4F);  // half a step of Q4_1 over 64 / 7
      if (tensor.dtype == DType::kF32) REQUIRE(values[i] == expected[i]);
    }
  }
  CHECK(header.tensors[5].name == "i32");
  CHECK(header.tensors[5].shape == std::vector<std::int64_t>{1, 2, 3, 4});
  CHECK(header.tensors[5].dtype == DType::kI32);
}

TEST_CASE("gguf: a file of the reference's writer, read and written again, is the same file",
          "[gguf]") {
  const Scratch scratch;
  for (const std::string name : {"all_types.gguf", "plain.gguf", "no_tensors.gguf"}) {
    INFO(name);
    const MappedFile file(golden_path(name));
    const GgufHeader header = parse(file);
    save_gguf(scratch / name, header.metadata, as_output(file, header));
    CHECK(read_file(scratch / name) == read_file(golden_path(name)));
  }
}

TEST_CASE("gguf: the embedded model, read and written again, is the same file", "[gguf]") {
  if (!fs::exists(model_path())) LANCET_SKIP("the embedded model is missing");
  const Scratch scratch;
  const MappedFile file(model_path());
  const GgufHeader header = parse(file);
  CHECK(header.tensors.size() == 272);
  CHECK(header.integer("llama.block_count") == 30);
  CHECK(header.strings("tokenizer.ggml.tokens")->size() == 49152);
  CHECK(header.integers("tokenizer.ggml.token_type").size() == 49152);
  CHECK(header.tensors[0].shape == std::vector<std::int64_t>{49152, 576});
  CHECK(header.tensors[0].dtype == DType::kQ8_0);
  save_gguf(scratch / "copy.gguf", header.metadata, as_output(file, header));
  const MappedFile copy(scratch / "copy.gguf");
  CHECK(std::ranges::equal(copy.bytes(), file.bytes()));
}

TEST_CASE("gguf: version 2 is read as version 3 is", "[gguf]") {
  std::string bytes = read_file(golden_path("plain.gguf"));
  bytes[4] = 2;
  const GgufHeader header = parse_gguf(std::as_bytes(std::span(bytes)), bytes.size(), "plain.gguf");
  CHECK(header.version == 2);
  CHECK(header.tensors.size() == 1);
}

TEST_CASE("gguf: the header alone is enough where the true size is given", "[gguf]") {
  const std::string bytes = read_file(golden_path("all_types.gguf"));
  const auto all = std::as_bytes(std::span(bytes));
  const std::uint64_t header_bytes = parse_gguf(all, bytes.size(), "whole").data_offset;
  const GgufHeader header = parse_gguf(all.first(header_bytes), bytes.size(), "head");
  CHECK(header.tensors.back().offset + header.tensors.back().bytes <= bytes.size());
}

TEST_CASE("gguf: a value of another type, or none, is an input error that names the key",
          "[gguf]") {
  const MappedFile file(golden_path("all_types.gguf"));
  const GgufHeader header = parse(file);
  const auto message_of = [](const std::function<void()>& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      return error.kind() == ErrorKind::kInput ? error.message() : "another kind";
    }
    return "no error";
  };
  const auto names = [](const std::string& message, const std::string& part) {
    return message.find(part) != std::string::npos;
  };
  CHECK(names(message_of([&] { static_cast<void>(header.integer("test.string")); }),
              "'test.string'"));
  CHECK(names(message_of([&] { static_cast<void>(header.integer("test.f32", 1)); }), "found f32"));
  CHECK(names(message_of([&] { static_cast<void>(header.integer("test.true")); }), "found bool"));
  CHECK(names(message_of([&] { static_cast<void>(header.integer("test.u64")); }), "below 2^63"));
  CHECK(names(message_of([&] { static_cast<void>(header.integer("no.key")); }), "'no.key'"));
  CHECK(names(message_of([&] { static_cast<void>(header.string("no.key")); }), "'no.key'"));
  CHECK(names(message_of([&] { static_cast<void>(header.string("test.u8", "")); }), "found u8"));
  CHECK(names(message_of([&] { static_cast<void>(header.boolean("test.u8", true)); }), "found u8"));
  CHECK(names(message_of([&] { static_cast<void>(header.number("test.string", 1)); }),
              "found string"));
  CHECK(names(message_of([&] { static_cast<void>(header.strings("test.i32s")); }),
              "found array of i32"));
  CHECK(names(message_of([&] { static_cast<void>(header.integers("test.strings")); }),
              "found array of string"));
  CHECK(names(message_of([&] { static_cast<void>(header.integers("test.bools")); }),
              "found array of bool"));
  CHECK(names(message_of([&] { static_cast<void>(header.numbers("test.i32s")); }),
              "found array of i32"));
  CHECK(header.find("no.key") == nullptr);
  CHECK(header.strings("no.key") == nullptr);
  CHECK(header.integers("no.key").empty());
  CHECK(header.integer("no.key", 5) == 5);
  CHECK(header.string("no.key", "x") == "x");
}

TEST_CASE("gguf: a tensor that emits too many or too few bytes is our own fault and leaves no file",
          "[gguf]") {
  const Scratch scratch;
  for (const std::size_t bytes : {0U, 31U, 33U, 1000U}) {
    CHECK(kind_of([&] {
            save_gguf(scratch / "x.gguf", {}, {filled("x", DType::kF32, {2, 4}, bytes)});
          }) == ErrorKind::kInternal);
  }
  CHECK(scratch.empty());
}

TEST_CASE("gguf: what the format cannot hold is refused before anything is written", "[gguf]") {
  const Scratch scratch;
  const auto kind = [&](OutputTensor tensor) {
    return kind_of([&] { save_gguf(scratch / "x.gguf", {}, {std::move(tensor)}); });
  };
  CHECK(kind(filled(std::string(64, 'n'), DType::kF32, {4}, 16)) == ErrorKind::kMismatch);
  CHECK(kind(filled("", DType::kF32, {4}, 16)) == ErrorKind::kMismatch);
  CHECK(kind(filled("../x", DType::kF32, {4}, 16)) == ErrorKind::kMismatch);
  CHECK(kind(filled("x", DType::kF32, {1, 1, 1, 1, 4}, 16)) == ErrorKind::kMismatch);
  CHECK(kind(filled("x", DType::kF32, {0}, 0)) == ErrorKind::kMismatch);
  CHECK(kind(filled("x", DType::kC64, {4}, 32)) == ErrorKind::kMismatch);
  CHECK(kind(filled("x", DType::kQ8_0, {2, 16}, 34)) == ErrorKind::kMismatch);
  CHECK(kind_of([&] {
          save_gguf(scratch / "x.gguf", {},
                    {filled("x", DType::kF32, {4}, 16), filled("x", DType::kF32, {4}, 16)});
        }) == ErrorKind::kMismatch);
  CHECK(scratch.empty());
}

TEST_CASE("gguf: a metadata value that does not fit its type is our own fault", "[gguf]") {
  const Scratch scratch;
  const auto kind = [&](GgufValue value) {
    return kind_of([&] { save_gguf(scratch / "x.gguf", Metadata{{"k", std::move(value)}}, {}); });
  };
  CHECK(kind({GgufType::kU8, {}, std::uint64_t{256}}) == ErrorKind::kInternal);
  CHECK(kind({GgufType::kI8, {}, std::int64_t{-129}}) == ErrorKind::kInternal);
  CHECK(kind({GgufType::kU32, {}, std::int64_t{1}}) == ErrorKind::kInternal);
  CHECK(kind({GgufType::kString, {}, true}) == ErrorKind::kInternal);
  CHECK(kind({GgufType::kF32, {}, std::vector<double>{1}}) == ErrorKind::kInternal);
  CHECK(kind({GgufType::kArray, GgufType::kArray, std::vector<double>{1}}) == ErrorKind::kInternal);
  CHECK(scratch.empty());
}

}  // namespace lancet
