#include "tests/model/tiny.h"

#include <algorithm>
#include <cstring>

#include "core/rng.h"
#include "formats/model_source.h"
#include "tests/catch.h"

namespace lancet::test {
namespace {

fs::path data() { return fs::path(LANCET_TEST_DATA); }

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

}  // namespace

fs::path folder_of(const std::string& name) {
  for (const char* collection : {"families", "scaled", "gguf_models"}) {
    if (fs::exists(data() / collection / name)) return data() / collection / name;
  }
  return data() / "tiny_models" / name;
}

std::vector<std::string> gguf_names() { return names_in(data() / "gguf_models"); }

std::vector<std::string> scaled_names() { return names_in(data() / "scaled"); }

std::vector<std::string> tiny_names() { return names_in(data() / "tiny_models"); }

std::vector<std::string> family_names() { return names_in(data() / "families"); }

Decoder load_tiny(const std::string& name, at::ScalarType dtype) {
  return Decoder::load(ModelSource::open(folder_of(name)), {dtype, at::kCPU});
}

Tokenizer word_tokenizer(std::int64_t vocab) {
  Json entries = Json::object();
  for (std::int64_t i = 0; i < vocab; ++i) entries["t" + std::to_string(i)] = i;
  return Tokenizer::from_json(
      {{"version", "1.0"},
       {"truncation", nullptr},
       {"padding", nullptr},
       {"added_tokens", Json::array()},
       {"normalizer", nullptr},
       {"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
       {"post_processor", nullptr},
       {"decoder", nullptr},
       {"model", {{"type", "WordLevel"}, {"vocab", entries}, {"unk_token", "t0"}}}},
      "test");
}

Decoder widened(const Decoder& model) {
  Decoder out = model;
  for (const std::string& name : model.weight_names())
    out = out.with_weight(name, model.weight(name));
  return out;
}

at::Tensor golden(const std::string& model, const std::string& tensor) {
  const auto file = Checkpoint::open(folder_of(model) / "golden.safetensors");
  const TensorInfo* info = file->find(tensor);
  REQUIRE(info != nullptr);
  const Bytes bytes = file->data(*info);
  at::Tensor out = at::empty(info->shape, info->dtype == DType::kF32 ? at::kFloat : at::kLong);
  REQUIRE(out.nbytes() == bytes.size());
  std::memcpy(out.mutable_data_ptr(), bytes.data(), bytes.size());
  return out;
}

at::Tensor random_ids(std::int64_t batch, std::int64_t tokens, std::uint64_t seed) {
  at::Tensor ids = at::empty({batch, tokens}, at::kLong);
  auto* id = ids.mutable_data_ptr<std::int64_t>();
  const Random random(seed, "ids");
  for (std::int64_t i = 0; i < ids.numel(); ++i)
    id[i] = random.bits(static_cast<std::uint64_t>(i)) % 64;
  return ids;
}

std::vector<std::vector<std::int32_t>> as_lists(const at::Tensor& ids) {
  std::vector<std::vector<std::int32_t>> out;
  for (std::int64_t b = 0; b < ids.size(0); ++b) {
    const auto* row = ids.const_data_ptr<std::int64_t>() + b * ids.size(1);
    out.emplace_back(row, row + ids.size(1));
  }
  return out;
}

double max_abs(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

double relative(const at::Tensor& a, const at::Tensor& b) {
  return max_abs(a, b) / b.to(at::kDouble).abs().max().item<double>();
}

std::vector<std::vector<std::int32_t>> greedy_without_cache(const Decoder& model, at::Tensor ids,
                                                            std::int64_t count) {
  const std::int64_t prompt = ids.size(1);
  for (std::int64_t i = 0; i < count; ++i) {
    const at::Tensor logits = model.forward(ids).select(1, ids.size(1) - 1);
    ids = at::cat({ids, logits.argmax(-1, true)}, 1);
  }
  return as_lists(ids.slice(1, prompt).contiguous());
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.contiguous();
  const at::Tensor y = b.contiguous();
  return x.sizes() == y.sizes() && x.scalar_type() == y.scalar_type() &&
         std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

}  // namespace lancet::test
