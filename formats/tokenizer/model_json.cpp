#include "formats/tokenizer/model_json.h"

#include <fmt/format.h>

#include "core/text.h"
#include "formats/tokenizer/bpe.h"
#include "formats/tokenizer/unigram.h"
#include "formats/tokenizer/word_models.h"

namespace lancet {

std::string model_type(const Json& model, const Where& where) {
  if (!model.is_object() || model.contains("type")) return where.string(model, "type");
  if (model.contains("merges")) return "BPE";
  if (model.contains("max_input_chars_per_word")) return "WordPiece";
  const auto vocab = model.find("vocab");
  return vocab != model.end() && vocab->is_array() ? "Unigram" : "WordLevel";
}

std::unique_ptr<TokenModel> make_model(const std::string& type, const Json& model,
                                       const Where& where, bool raw_bytes) {
  if (type == "BPE") return Bpe::from_json(model, where, raw_bytes);
  if (type == "Unigram") return Unigram::from_json(model, where);
  if (type == "WordPiece") return WordPiece::from_json(model, where);
  if (type == "WordLevel") return WordLevel::from_json(model, where);
  where.fail_unsupported("model", type);
}

Vocabulary read_vocabulary(const Json& model, const Where& where) {
  const Json& vocab = where.member(model, "vocab");
  const Where here = where.key("vocab");
  if (!vocab.is_object())
    here.fail_input(fmt::format("expected an object, found {}", vocab.type_name()));
  const auto& members = vocab.get_ref<const Json::object_t&>();
  std::size_t bytes = 0;
  for (const auto& member : members) bytes += member.first.size();
  Vocabulary vocabulary;
  vocabulary.reserve(members.size(), bytes);
  for (const auto& [piece, id] : members) {
    const auto valid = as_token_id(id);
    if (!valid) {
      here.fail_input(fmt::format("the id of '{}' is {}, expected an integer from 0 to {}",
                                  printable(piece, 60), printable(dump_json(id), 40), INT32_MAX));
    }
    vocabulary.add(piece, *valid, here);
  }
  vocabulary.build(here);
  return vocabulary;
}

Json vocabulary_json(const Vocabulary& vocabulary) {
  Json vocab = Json::object();
  auto& members = vocab.get_ref<Json::object_t&>();
  members.reserve(vocabulary.size());
  for (const TokenId id : vocabulary.ids()) {
    members.emplace_back(std::string(vocabulary.piece(id).value_or("")), id);
  }
  return vocab;
}

}  // namespace lancet
