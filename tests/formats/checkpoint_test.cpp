// Opening a model on disk in every form. Hostile shard indexes: tests/attacks.

#include "formats/checkpoint.h"

#include "core/error.h"
#include "formats/config/to_gguf.h"
#include "formats/containers/sharded.h"
#include "tests/attacks/safetensors_attacks.h"
#include "tests/catch.h"
#include "tests/formats/scratch.h"

namespace lancet {
namespace {

void write_shards(const fs::path& directory) {
  fs::create_directories(directory);
  for (const auto& [name, bytes] : attacks::valid_shards()) write_file(directory / name, bytes);
}

Error refusal(const fs::path& model) {
  try {
    static_cast<void>(Checkpoint::open(model));
  } catch (const Error& error) {
    return error;
  }
  return {ErrorKind::kInternal, "test", "accepted"};
}

OutputTensor byte_tensor(const std::string& name, std::int8_t value) {
  return {name, DType::kI8, {1}, [value](const auto& emit) {
            emit(std::as_bytes(std::span(&value, 1)));
          }};
}

void write_split(const fs::path& path, std::int64_t number, std::int64_t count,
                 const OutputTensor& tensor) {
  save_gguf(path,
            {{"general.architecture", gguf_string("llama")},
             {"split.no", {GgufType::kU16, GgufType::kU32, static_cast<std::uint64_t>(number)}},
             {"split.count", {GgufType::kU16, GgufType::kU32, static_cast<std::uint64_t>(count)}},
             {"split.tensors.count", {GgufType::kI32, GgufType::kU32, std::int64_t{2}}}},
            {tensor});
}

}  // namespace

TEST_CASE("checkpoint: a sharded directory, its index and a single file show the same tensors",
          "[checkpoint]") {
  const Scratch scratch;
  write_shards(scratch / "m");
  for (const fs::path& model : {scratch / "m", scratch / "m/model.safetensors.index.json"}) {
    const auto checkpoint = Checkpoint::open(model);
    CHECK(checkpoint->form() == CheckpointForm::kHuggingFace);
    CHECK(checkpoint->files().size() == 2);
    REQUIRE(checkpoint->find("b") != nullptr);
    CHECK(checkpoint->data(*checkpoint->find("b")).size() == 1);
    CHECK(checkpoint->find("c") == nullptr);
  }
  const auto single = Checkpoint::open(scratch / "m/1.safetensors");
  CHECK(single->form() == CheckpointForm::kSafetensors);
  CHECK(single->find("a") != nullptr);
  CHECK_FALSE(single->side_file("config.json"));
}

TEST_CASE("checkpoint: model.safetensors goes before an index, as in transformers",
          "[checkpoint]") {
  const Scratch scratch;
  write_shards(scratch / "m");
  write_file(scratch / "m/model.safetensors", attacks::valid_safetensors());
  const auto checkpoint = Checkpoint::open(scratch / "m");
  CHECK(checkpoint->files().size() == 1);
  CHECK(checkpoint->metadata()["format"] == "pt");
}

TEST_CASE("checkpoint: side files are read, missing ones are nothing", "[checkpoint]") {
  const Scratch scratch;
  write_shards(scratch / "m");
  write_file(scratch / "m/config.json", "{}");
  const auto checkpoint = Checkpoint::open(scratch / "m");
  CHECK(checkpoint->side_file("config.json") == "{}");
  CHECK_FALSE(checkpoint->side_file("tokenizer.json"));
}

TEST_CASE("checkpoint: what is no model is an input error with a hint", "[checkpoint]") {
  const Scratch scratch;
  CHECK(refusal(scratch / "missing").kind() == ErrorKind::kInput);
  fs::create_directories(scratch / "bin");
  write_file(scratch / "bin/pytorch_model.bin", "x");
  CHECK(refusal(scratch / "bin").kind() == ErrorKind::kInput);
  CHECK(refusal(scratch / "bin").hint().find("torch") != std::string::npos);
  fs::create_directories(scratch / "gguf");
  write_file(scratch / "gguf/m.gguf", "x");
  CHECK(refusal(scratch / "gguf").hint().find("m.gguf") != std::string::npos);
  write_file(scratch / "text", "hello, I am a text file");
  CHECK(refusal(scratch / "text").kind() == ErrorKind::kInput);
  CHECK(refusal(scratch / "text").message().find("safetensors, GGUF or PyTorch") !=
        std::string::npos);
  write_file(scratch / "empty.safetensors", "");
  CHECK(refusal(scratch / "empty.safetensors").kind() == ErrorKind::kInput);
}

TEST_CASE("checkpoint: a split GGUF is opened by its first file and checked for its parts",
          "[checkpoint]") {
  const Scratch scratch;
  write_split(scratch / "m-00001-of-00002.gguf", 0, 2, byte_tensor("a", 1));
  CHECK(refusal(scratch / "m-00001-of-00002.gguf").kind() == ErrorKind::kInput);
  write_split(scratch / "m-00002-of-00002.gguf", 1, 2, byte_tensor("b", 2));
  const auto checkpoint = Checkpoint::open(scratch / "m-00001-of-00002.gguf");
  CHECK(checkpoint->files().size() == 2);
  CHECK(checkpoint->data(*checkpoint->find("b"))[0] == std::byte{2});
  CHECK(refusal(scratch / "m-00002-of-00002.gguf").hint().find("first") != std::string::npos);
  write_split(scratch / "m-00002-of-00002.gguf", 0, 2, byte_tensor("b", 2));
  CHECK(refusal(scratch / "m-00001-of-00002.gguf").kind() == ErrorKind::kInput);
  write_split(scratch / "m-00002-of-00002.gguf", 1, 2, byte_tensor("a", 2));
  CHECK(refusal(scratch / "m-00001-of-00002.gguf").message().find("'a'") != std::string::npos);
}

TEST_CASE("sharded: names and index are those of the reference library", "[checkpoint]") {
  CHECK(shard_name(0, 3) == "model-00001-of-00003.safetensors");
  const ShardIndex index =
      parse_shard_index(shard_index_text({{"b", "2"}, {"a", "1"}}, 7), "index");
  CHECK(index.total_size == 7U);
  CHECK(index.shards == std::vector<std::string>{"1", "2"});
  CHECK(index.tensors == std::vector<std::pair<std::string, std::uint32_t>>{{"a", 0U}, {"b", 1U}});
}

TEST_CASE("sharded: extra keys and a wrong total_size do not stop a reader", "[checkpoint]") {
  const ShardIndex index = parse_shard_index(
      R"({"metadata":{"total_size":-1,"note":[1,{"x":null}]},"extra":[true,1.5e3],"weight_map":{"a":"1"}})",
      "index");
  CHECK_FALSE(index.total_size);
  CHECK(index.tensors.size() == 1);
}

}  // namespace lancet
