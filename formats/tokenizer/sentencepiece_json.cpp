#include "formats/tokenizer/sentencepiece_json.h"

#include "core/base64.h"
#include "formats/tokenizer/post_processor.h"

namespace lancet {
namespace {

using Type = SentencePieceModel::Type;

constexpr const char* kMarker = "\xE2\x96\x81";

Json replace(Json pattern, const char* content) {
  Json out = {{"type", "Replace"}};
  out["pattern"] = std::move(pattern);
  out["content"] = content;
  return out;
}

/// One step as it is, none as null, several as a Sequence.
Json sequence(const char* key, Json::array_t steps) {
  if (steps.empty()) return nullptr;
  if (steps.size() == 1) return steps.front();
  Json out = {{"type", "Sequence"}};
  out[key] = std::move(steps);
  return out;
}

Json normalizer(const SentencePieceModel& model) {
  Json::array_t steps;
  if (!model.charsmap.empty()) {
    steps.push_back(
        {{"type", "Precompiled"}, {"precompiled_charsmap", encode_base64(model.charsmap)}});
  }
  if (model.remove_extra_whitespaces) {
    steps.push_back({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}});
    steps.push_back(replace({{"Regex", " {2,}"}}, " "));
  }
  if (!model.unigram) {
    if (model.add_dummy_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kMarker}});
    steps.push_back(replace({{"String", " "}}, kMarker));
  }
  return sequence("normalizers", std::move(steps));
}

Json pre_tokenizer(const SentencePieceModel& model) {
  if (!model.unigram) return nullptr;
  return {{"type", "Metaspace"},
          {"replacement", kMarker},
          {"prepend_scheme", model.add_dummy_prefix ? "always" : "never"},
          {"split", true}};
}

Json decoder(const SentencePieceModel& model) {
  Json::array_t steps = {replace({{"String", kMarker}}, " ")};
  if (model.byte_fallback) steps.push_back({{"type", "ByteFallback"}});
  steps.push_back({{"type", "Fuse"}});
  if (model.add_dummy_prefix)
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return sequence("decoders", std::move(steps));
}

Json added_tokens(const SentencePieceModel& model) {
  Json list = Json::array();
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const auto& [text, score, type] = model.pieces[id];
    const bool special = type == Type::kControl || type == Type::kUnknown;
    if ((!special && type != Type::kUserDefined) || text.empty()) continue;
    list.push_back({{"id", id},
                    {"content", text},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", !special},
                    {"special", special}});
  }
  return list;
}

}  // namespace

Json sentencepiece_json(const SentencePieceModel& model) {
  const auto token = [&](bool added, std::optional<TokenId> id) {
    std::optional<NamedToken> out;
    if (added && id) out.emplace(*id, model.pieces[static_cast<std::size_t>(*id)].text);
    return out;
  };
  Json out = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  out["added_tokens"] = added_tokens(model);
  out["normalizer"] = normalizer(model);
  out["pre_tokenizer"] = pre_tokenizer(model);
  out["post_processor"] =
      template_processor(token(model.add_bos, model.bos), token(model.add_eos, model.eos));
  out["decoder"] = decoder(model);
  Json kind = {{"type", model.unigram ? "Unigram" : "BPE"}};
  if (model.unigram) {
    kind["unk_id"] = model.unk ? Json(*model.unk) : Json();
  } else {
    kind["dropout"] = nullptr;
    kind["unk_token"] =
        model.unk ? Json(model.pieces[static_cast<std::size_t>(*model.unk)].text) : Json();
    kind["continuing_subword_prefix"] = nullptr;
    kind["end_of_word_suffix"] = nullptr;
    kind["fuse_unk"] = true;
  }
  kind["byte_fallback"] = model.byte_fallback;
  if (!model.unigram) kind["ignore_merges"] = false;
  out["model"] = std::move(kind);
  return out;
}

}  // namespace lancet
