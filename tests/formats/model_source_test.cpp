// A GGUF seen as a Hugging Face model: names, row order, values, files beside the weights.

#include "formats/model_source.h"

#include <fstream>

#include "core/error.h"
#include "formats/config/to_gguf.h"
#include "formats/gguf_model.h"
#include "formats/model_writer.h"
#include "formats/names/name_map.h"
#include "tests/catch.h"
#include "tests/formats/scratch.h"
#include "tests/formats/tiny_llama.h"

namespace lancet {
namespace {

/// Bytes that copy_tensor emits.
std::string emitted(const OutputTensor& tensor) {
  std::string out;
  tensor.write(
      [&](Bytes bytes) { out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size()); });
  return out;
}

std::vector<float> floats(const std::string& bytes) {
  std::vector<float> out(bytes.size() / sizeof(float));
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

std::vector<float> read(const ModelSource& source, const TensorInfo& tensor, std::int64_t begin,
                        std::int64_t end) {
  const std::uint64_t rows = tensor.shape.empty() ? 1 : static_cast<std::uint64_t>(tensor.shape[0]);
  std::vector<float> out(tensor.elements() / rows * static_cast<std::uint64_t>(end - begin));
  source.read_f32(tensor, begin, end, out);
  return out;
}

fs::path tiny_gguf(const Scratch& scratch, bool quantize) {
  const GgufModel model = make_gguf_model(tiny::tensors(), tiny::side_files(), quantize);
  const fs::path path = scratch / "tiny.gguf";
  save_gguf(path, model.metadata, model.tensors);
  return path;
}

}  // namespace

TEST_CASE("model source: a GGUF shows transformers' names, shapes and values", "[model_source]") {
  const Scratch scratch;
  const ModelSource source = ModelSource::open(tiny_gguf(scratch, false));
  const auto specs = tiny::specs();
  REQUIRE(source.tensors().size() == specs.size());
  for (std::size_t t = 0; t < specs.size(); ++t) {
    INFO(specs[t].name);
    const TensorInfo& tensor = source.at(specs[t].name);
    CHECK(tensor.shape == specs[t].shape);
    CHECK(read(source, tensor, 0, tensor.shape[0]) == tiny::values(t, tensor.shape));
  }
  CHECK(std::ranges::is_sorted(source.tensors(), {}, &TensorInfo::name));
  CHECK(source.config()["model_type"] == "llama");
}

TEST_CASE("model source: query and key rows are stored permuted and read back in order",
          "[model_source]") {
  const Scratch scratch;
  const ModelSource source = ModelSource::open(tiny_gguf(scratch, false));
  for (const char* name :
       {"model.layers.1.self_attn.q_proj.weight", "model.layers.1.self_attn.k_proj.weight"}) {
    const TensorInfo& tensor = source.at(name);
    const std::vector<float> whole = read(source, tensor, 0, tensor.shape[0]);
    std::vector<float> stored(whole.size());
    std::memcpy(stored.data(), source.checkpoint().data(tensor).data(),
                stored.size() * sizeof(float));
    CHECK(stored != whole);
    for (std::int64_t row = 0; row < tensor.shape[0]; ++row) {
      const auto at = static_cast<std::size_t>(gguf_row(row, tiny::kHeadDim) * tiny::kModel);
      const std::vector<float> one = read(source, tensor, row, row + 1);
      CHECK(std::equal(one.begin(), one.end(), stored.begin() + static_cast<std::ptrdiff_t>(at)));
      CHECK(std::equal(one.begin(), one.end(), whole.begin() + row * tiny::kModel));
    }
    CHECK(source.raw(tensor).empty());
    CHECK(floats(emitted(copy_tensor(source, tensor, std::nullopt))) == whole);
  }
  CHECK(source.raw(source.at("model.layers.1.self_attn.v_proj.weight")).size() == 16 * 32 * 4);
}

TEST_CASE("model source: rows of a quantised tensor equal those of the whole", "[model_source]") {
  const Scratch scratch;
  const ModelSource source = ModelSource::open(tiny_gguf(scratch, true));
  for (const TensorInfo& tensor : source.tensors()) {
    INFO(tensor.name);
    CHECK((tensor.dtype == DType::kQ8_0) == (tensor.shape.size() == 2));
    const std::vector<float> whole = read(source, tensor, 0, tensor.shape[0]);
    const auto width = static_cast<std::ptrdiff_t>(whole.size()) / tensor.shape[0];
    for (std::int64_t row = 0; row < tensor.shape[0]; row += 3) {
      const std::int64_t end = std::min(tensor.shape[0], row + 5);
      const std::vector<float> part = read(source, tensor, row, end);
      CHECK(std::equal(part.begin(), part.end(), whole.begin() + row * width));
    }
    const OutputTensor copy = copy_tensor(source, tensor, std::nullopt);
    CHECK(copy.dtype == DType::kF32);
    CHECK(floats(emitted(copy)) == whole);
  }
}

TEST_CASE("model source: a dtype asked for changes floats and leaves integers", "[model_source]") {
  const Scratch scratch;
  std::vector<OutputTensor> tensors = {tiny::output("w", {3, 5}, tiny::values(1, {3, 5}))};
  tensors.push_back({"n", DType::kI64, {2}, [](const auto& emit) {
                       const std::array<std::int64_t, 2> values = {7, -9};
                       emit(std::as_bytes(std::span(values)));
                     }});
  save_safetensors(scratch / "m.safetensors", tensors, {});
  const ModelSource source = ModelSource::open(scratch / "m.safetensors");
  CHECK(copy_tensor(source, source.at("n"), DType::kBF16).dtype == DType::kI64);
  CHECK(emitted(copy_tensor(source, source.at("n"), DType::kBF16)).size() == 16);
  const OutputTensor half = copy_tensor(source, source.at("w"), DType::kBF16);
  CHECK(half.dtype == DType::kBF16);
  CHECK(emitted(half).size() == 30);  // the values are exact in bfloat16: truncation shows them
  const std::string bytes = emitted(half);
  for (std::size_t i = 0; i < 15; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(reinterpret_cast<char*>(&bits) + 2, bytes.data() + 2 * i, 2);
    CHECK(std::bit_cast<float>(bits) == tiny::value(1, i));
  }
  CHECK_THROWS_AS(copy_tensor(source, source.at("w"), DType::kQ4_0), Error);
  CHECK_THROWS_AS(source.config(), Error);
}

TEST_CASE("model source: a missing tensor is a mismatch with a suggestion", "[model_source]") {
  const Scratch scratch;
  const ModelSource source = ModelSource::open(tiny_gguf(scratch, false));
  CHECK(source.find("model.norm.wait") == nullptr);
  try {
    static_cast<void>(source.at("model.norm.wait"));
    FAIL("found");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kMismatch);
    CHECK(error.hint().find("model.norm.weight") != std::string::npos);
  }
}

TEST_CASE("model source: an unknown architecture and an unknown tensor are mismatches",
          "[model_source]") {
  const Scratch scratch;
  GgufModel model = make_gguf_model(tiny::tensors(), tiny::side_files(), false);
  const auto kind = [&] {
    save_gguf(scratch / "m.gguf", model.metadata, model.tensors);
    try {
      static_cast<void>(ModelSource::open(scratch / "m.gguf"));
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInternal;
  };
  model.tensors.push_back(tiny::output("blk.0.ffn_gate_exps.weight", {4}, tiny::values(0, {4})));
  CHECK(kind() == ErrorKind::kMismatch);
  model.tensors.pop_back();
  model.metadata[0].second = gguf_string("unheard-of");
  CHECK(kind() == ErrorKind::kMismatch);
}

TEST_CASE("model source: weights quantised in a way not read are refused by name",
          "[model_source]") {
  const Scratch scratch;
  fs::create_directories(scratch / "m");
  save_safetensors(scratch / "m/model.safetensors",
                   {tiny::output("w", {3, 5}, tiny::values(1, {3, 5}))}, {});
  write_file(scratch / "m/config.json",
             R"({"model_type":"llama","quantization_config":{"quant_method":"gptq"}})");
  const ModelSource source = ModelSource::open(scratch / "m");
  std::vector<float> out(15);
  CHECK_THROWS_AS(source.read_f32(source.at("w"), 0, 3, out), Error);
}

TEST_CASE("model source: a file that changes while it is copied is an input error",
          "[model_source]") {
  const Scratch scratch;
  save_safetensors(scratch / "m.safetensors", {tiny::output("w", {3, 5}, tiny::values(1, {3, 5}))},
                   {});
  const ModelSource source = ModelSource::open(scratch / "m.safetensors");
  const OutputTensor copy = copy_tensor(source, source.at("w"), std::nullopt);
  CHECK(emitted(copy).size() == 60);
  std::ofstream(scratch / "m.safetensors", std::ios::app) << "more";
  CHECK_THROWS_AS(emitted(copy), Error);
}

TEST_CASE("model source: chat templates are found wherever transformers looks", "[model_source]") {
  const Scratch scratch;
  const auto with = [&](const char* file, const char* text) {
    fs::remove_all(scratch / "m");
    fs::create_directories(scratch / "m");
    save_safetensors(scratch / "m/model.safetensors",
                     {tiny::output("w", {3, 5}, tiny::values(1, {3, 5}))}, {});
    write_file(scratch / "m" / file, text);
    return ModelSource::open(scratch / "m").chat_template();
  };
  CHECK(with("chat_template.jinja", "J") == "J");
  CHECK(with("tokenizer_config.json", R"({"chat_template":"S"})") == "S");
  CHECK(
      with(
          "tokenizer_config.json",
          R"({"chat_template":[{"name":"rag","template":"R"},{"name":"default","template":"D"}]})") ==
      "D");
  CHECK_FALSE(with("tokenizer_config.json", "{}"));
  CHECK_FALSE(with("config.json", "{}"));
}

TEST_CASE("model source: code beside the weights is never a side file", "[model_source]") {
  const Scratch scratch;
  fs::create_directories(scratch / "m");
  save_safetensors(scratch / "m/model.safetensors",
                   {tiny::output("w", {3, 5}, tiny::values(1, {3, 5}))}, {});
  write_file(scratch / "m/modeling_llama.py", "import os");
  write_file(scratch / "m/LICENSE", "L");
  write_file(scratch / "m/config.json", "{}");
  const auto files = ModelSource::open(scratch / "m").side_files();
  CHECK(files.size() == 2);
  CHECK(files.at("LICENSE") == "L");
}

TEST_CASE(
    "model source: a head stored with other values than embeddings said to be tied is its own",
    "[model_source]") {
  const Scratch scratch;
  const auto saved = [&](const std::string& name, std::vector<float> head, const Json& tied) {
    auto tensors = tiny::tensors();
    if (!head.empty())
      tensors.push_back(tiny::output("lm_head.weight", {tiny::kVocab, tiny::kModel}, head));
    fs::create_directories(scratch / name);
    save_safetensors(scratch / name / "model.safetensors", std::move(tensors), {});
    Json config = tiny::config();
    config["tie_word_embeddings"] = tied;
    std::ofstream(scratch / name / "config.json") << config.dump();
    return ModelSource::open(scratch / name);
  };
  const auto same = tiny::values(0, {tiny::kVocab, tiny::kModel});
  auto other = same;
  other.back() += 1;
  const ModelSource own = saved("own", other, true);
  CHECK(own.config()["tie_word_embeddings"] == false);
  CHECK(Json::parse(own.side_files().at("config.json"))["tie_word_embeddings"] == false);
  CHECK(saved("same", same, true).config()["tie_word_embeddings"] == true);
  CHECK(saved("none", {}, true).config()["tie_word_embeddings"] == true);
  CHECK_FALSE(saved("silent", other, nullptr).config()["tie_word_embeddings"] == false);
}

}  // namespace lancet
