#pragma once
// Tiny models with tokenizers of single letters, for tests of vocabularies matched by token.

#include <string>
#include <vector>

#include "core/json.h"
#include "merge/run.h"
#include "tests/catch.h"
#include "tests/formats/bpe_json.h"
#include "tests/merge/memory.h"

namespace lancet::test {

/// A byte-level BPE tokenizer of single-letter tokens, ids in the order given.
inline Json tokenizer_of(const std::vector<std::string>& tokens,
                         const std::vector<std::string>& special = {}) {
  Json vocab = Json::object(), added = Json::array();
  for (const std::string& token : tokens) vocab[token] = vocab.size();
  for (const std::string& token : special)
    added.push_back(special_token(vocab.size() + added.size(), token));
  return byte_level_json(vocab, Json::array(), added);
}

/// A model whose embedding row r is (first + r, -(first + r)).
inline void save(const fs::path& path, const Json& tokenizer, int rows, double first) {
  Values values;
  for (int r = 0; r < rows; ++r) {
    values.push_back(first + r);
    values.push_back(-(first + r));
  }
  save_model(
      path,
      {{"model.embed_tokens.weight", {{rows, 2}, values}}, {"model.norm.weight", {{2}, {1, 1}}}},
      DType::kF32, {{"model_type", "llama"}, {"vocab_size", rows}, {"tie_word_embeddings", true}});
  write_file(path / "tokenizer.json", dump_json(tokenizer));
}

/// First column of the embedding of a and b in `scratch` merged with weights of 1 and `more`.
inline Values merge_rows(const Scratch& scratch, const std::string& more, const std::string& out) {
  const RecipeFile file = parse_recipe(
      "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n" + more,
      "r.yml", scratch.path());
  run_merge(file, *plan_merge(file, {}), scratch / out, {});
  const ModelSource source = ModelSource::open(scratch / out);
  const TensorInfo& tensor = source.at("model.embed_tokens.weight");
  CHECK(source.config()["vocab_size"] == tensor.shape[0]);
  std::vector<float> values(tensor.elements());
  source.read_f32(tensor, 0, tensor.shape[0], values);
  Values column;
  for (std::size_t i = 0; i < values.size(); i += 2) {
    CHECK(values[i] == -values[i + 1]);
    column.push_back(static_cast<double>(values[i]));
  }
  return column;
}

}  // namespace lancet::test
