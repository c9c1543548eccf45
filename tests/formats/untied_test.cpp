// Adapters over a model that stores embeddings and head as one: what one of the two learns is not
// the other's.
#include <cmath>

#include "formats/adapter/overlay.h"
#include "formats/adapter/peft_writer.h"
#include "formats/model_source.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;
using namespace lancet::test;

namespace {

const fs::path kTied = fs::path(LANCET_TEST_DATA) / "train" / "model";
constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";

/// Factors of rank 1 that add `step` times row times column.
LoraFactors factors(const ModelSource& base, bool embedding, float step) {
  const auto& shape = base.at(kEmbedding).shape;
  const std::int64_t rows = shape[0], columns = shape[1];
  LoraFactors out;
  out.module = embedding ? "model.embed_tokens" : "lm_head";
  out.kind = embedding ? LoraModule::Kind::kEmbedding : LoraModule::Kind::kLinear;
  out.rank = 1;
  out.d_in = embedding ? rows : columns;
  out.d_out = embedding ? columns : rows;
  for (std::int64_t i = 0; i < out.d_in; ++i) out.a.push_back(static_cast<float>(i));
  for (std::int64_t i = 0; i < out.d_out; ++i) out.b.push_back(step * static_cast<float>(i));
  return out;
}

std::vector<float> values_of(const ModelSource& source, const char* name) {
  const TensorInfo& tensor = source.at(name);
  std::vector<float> out(tensor.elements());
  source.read_f32(tensor, 0, tensor.shape[0], out);
  return out;
}

/// The largest distance from base + step * row * column.
float distance(const ModelSource& source, const char* name, const ModelSource& base, float step) {
  const std::vector<float> own = values_of(source, name), plain = values_of(base, kEmbedding);
  const auto columns = static_cast<std::size_t>(base.at(kEmbedding).shape[1]);
  float out = 0;
  for (std::size_t i = 0; i < own.size(); ++i) {
    const auto row = static_cast<float>(i / columns), column = static_cast<float>(i % columns);
    out = std::max(out, std::fabs(own[i] - (plain[i] + step * row * column)));
  }
  return out;
}

}  // namespace

TEST_CASE("adapters: tied embeddings and head part where one of them changes") {
  const ModelSource base = ModelSource::open(kTied);
  REQUIRE(base.find(kHead) == nullptr);
  for (const int which : {1, 2, 3}) {
    INFO(which);
    const Scratch scratch;
    const float read = (which & 1) != 0 ? 1e-3F : 0, said = (which & 2) != 0 ? 2e-3F : 0;
    AdapterFile file;
    file.base = kTied.string();
    if (read != 0) file.modules.push_back(factors(base, true, read));
    if (said != 0) file.modules.push_back(factors(base, false, said));
    save_adapter(scratch / "adapter", std::move(file), false);
    const ModelSource source = ModelSource::open(kTied, scratch / "adapter");
    REQUIRE(source.find(kHead) != nullptr);
    CHECK(source.tensors().size() == base.tensors().size() + 1);
    CHECK(source.config()["tie_word_embeddings"] == false);
    CHECK(parse_json(source.side_files().at("config.json"), "config")["tie_word_embeddings"] ==
          false);
    CHECK(distance(source, kEmbedding, base, read) < 1e-5F);
    CHECK(distance(source, kHead, base, said) < 1e-5F);
  }
}

TEST_CASE("adapters: on other layers alone the head stays tied") {
  const ModelSource base = ModelSource::open(kTied);
  const auto adapter = Adapter::open(fs::path(LANCET_TEST_DATA) / "train" / "init_lora");
  CHECK_FALSE(head_to_untie(*adapter, base.tensors()).has_value());
  const auto ends = Adapter::open(fs::path(LANCET_TEST_DATA) / "train" / "init_ends");
  CHECK(head_to_untie(*ends, base.tensors())->head == kHead);
  for (const SavedTensor& each : ends->saved()) CHECK(each.of_base);
}
