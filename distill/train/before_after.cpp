#include "distill/train/before_after.h"

#include <algorithm>

#include "distill/train/abilities.h"
#include "model/generate.h"
#include "model/score.h"

namespace lancet {
namespace {

constexpr std::size_t kPairs = 16;          ///< continuations scored in one batch
constexpr std::int64_t kSampleTokens = 64;  ///< of a greedy answer

/// The adapter off and on around a call.
template <class Call>
auto with_adapter(LoraAdapter& adapter, bool enabled, const Call& call) {
  const LoraSwitch before = adapter.state();
  adapter.state() = {.enabled = enabled, .draw = -1};
  auto out = call();
  adapter.state() = before;
  return out;
}

TextProbability whole_text(const Decoder& model, const Tokenizer& tokenizer,
                           const std::string& text) {
  const TextScore score = score_each(model, tokenizer, {text}).front();
  return {-score.nll, score.tokens};
}

using IdPair = std::pair<std::vector<std::int32_t>, std::vector<std::int32_t>>;
using IdPairs = std::vector<IdPair>;

/// The tokens of both texts together, cut before the first that has a byte of the second: a
/// tokenizer that joins a blank to the next word reads it as it would in a text.
IdPair cut_at(const Tokenizer& tokenizer, const std::string& context,
              const std::string& continuation) {
  const Encoding both = tokenizer.encode(context + continuation);
  std::size_t cut = 0;
  while (cut < both.ids.size() && both.offsets[cut].second <= context.size()) ++cut;
  cut = std::max<std::size_t>(cut, 1);  // the first token has nothing before it
  const auto middle =
      both.ids.begin() + static_cast<std::ptrdiff_t>(std::min(cut, both.ids.size()));
  return {{both.ids.begin(), middle}, {middle, both.ids.end()}};
}

std::vector<TextProbability> ask(const Decoder& model, const Tokenizer& tokenizer,
                                 const std::vector<std::pair<std::string, std::string>>& asked) {
  std::vector<TextProbability> out(asked.size());
  for (std::size_t first = 0; first < asked.size(); first += kPairs) {
    const std::size_t end = std::min(asked.size(), first + kPairs);
    IdPairs pairs;
    std::vector<std::size_t> places;
    for (std::size_t i = first; i < end; ++i) {
      const auto& [context, continuation] = asked[i];
      if (context.empty()) {
        out[i] = whole_text(model, tokenizer, continuation);
      } else {
        pairs.push_back(cut_at(tokenizer, context, continuation));
        places.push_back(i);
      }
    }
    if (pairs.empty()) continue;
    const auto scores = score_continuations(model, pairs);
    for (std::size_t k = 0; k < scores.size(); ++k) {
      TextProbability& to = out[places[k]];
      for (const double logprob : scores[k].logprobs) to.logprob += logprob;
      to.tokens = static_cast<std::int64_t>(scores[k].logprobs.size());
    }
  }
  return out;
}

std::vector<std::string> answers(const Decoder& model, const Tokenizer& tokenizer,
                                 const std::vector<Prompt>& prompts) {
  SamplingOptions sampling;
  sampling.max_tokens = kSampleTokens;
  if (const auto eos = tokenizer.eos()) sampling.end_ids = {*eos};
  std::vector<std::string> out;
  for (const Generation& each : generate(model, tokenizer, prompts, sampling, 0, {}))
    out.push_back(each.text);
  return out;
}

}  // namespace

std::vector<SampleRecord> sample_texts(const Decoder& student, LoraAdapter& adapter,
                                       const Tokenizer& tokenizer, const Dataset& data,
                                       std::size_t count) {
  const auto rows = data.eval_rows().empty() ? data.train_rows() : data.eval_rows();
  std::vector<SampleRecord> out;
  std::vector<Prompt> prompts;
  for (std::size_t i = 0; i < std::min(count, rows.size()); ++i) {
    const Dataset::Sample sample = data.sample(rows[i], tokenizer);
    if (sample.prompt.empty()) continue;
    prompts.push_back({.id = {}, .text = sample.prompt, .special = false});
    out.push_back({.prompt = sample.prompt, .wanted = sample.answer, .before = {}, .after = {}});
  }
  if (out.empty()) return out;
  const c10::InferenceMode inference;
  const auto ask_all = [&] { return answers(student, tokenizer, prompts); };
  const auto before = with_adapter(adapter, false, ask_all);
  const auto after = with_adapter(adapter, true, ask_all);
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i].before = before[i];
    out[i].after = after[i];
  }
  return out;
}

Json measure_forgetting(const Decoder& student, LoraAdapter& adapter, const Tokenizer& tokenizer) {
  const c10::InferenceMode inference;
  const auto measure = [&] {
    return measure_abilities([&](const std::vector<std::pair<std::string, std::string>>& asked) {
      return ask(student, tokenizer, asked);
    });
  };
  const Abilities before = with_adapter(adapter, false, measure);
  return forgetting_json(before, with_adapter(adapter, true, measure));
}

}  // namespace lancet
