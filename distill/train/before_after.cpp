#include "distill/train/before_after.h"

#include <algorithm>

#include "core/interrupt.h"
#include "distill/train/abilities.h"
#include "model/generate.h"
#include "model/score.h"

namespace lancet {
namespace {

constexpr std::int64_t kAnswer = 64;  ///< tokens of a sample at most
constexpr std::size_t kBatch = 64;    ///< pairs scored at once

using Pairs = std::vector<std::pair<std::string, std::string>>;

/// Tokens of context and continuation; one that reaches over the border belongs to the latter.
std::pair<std::vector<std::int32_t>, std::vector<std::int32_t>> split(const Tokenizer& tokenizer,
                                                                      const std::string& context,
                                                                      const std::string& text) {
  const Encoding encoded = tokenizer.encode(context + text);
  std::size_t cut = encoded.ids.size();
  while (cut > 1 && encoded.offsets[cut - 1].second > context.size()) --cut;
  const auto at = encoded.ids.begin() + static_cast<std::ptrdiff_t>(cut);
  return {{encoded.ids.begin(), at}, {at, encoded.ids.end()}};
}

std::vector<TextProbability> whole_texts(const Decoder& model, const Tokenizer& tokenizer,
                                         const Pairs& pairs) {
  std::vector<std::string> texts;
  for (const auto& pair : pairs) texts.push_back(pair.second);
  std::vector<TextProbability> out;
  for (const TextScore& score : score_each(model, tokenizer, texts))
    out.push_back({-score.nll, score.tokens});
  return out;
}

AskProbabilities ask(const Decoder& model, const Tokenizer& tokenizer) {
  return [&](const Pairs& pairs) {
    if (!pairs.empty() && pairs.front().first.empty()) return whole_texts(model, tokenizer, pairs);
    std::vector<TextProbability> out;
    for (std::size_t begin = 0; begin < pairs.size(); begin += kBatch) {
      check_interrupted();
      std::vector<std::pair<std::vector<std::int32_t>, std::vector<std::int32_t>>> tokens;
      for (std::size_t i = begin; i < std::min(begin + kBatch, pairs.size()); ++i)
        tokens.push_back(split(tokenizer, pairs[i].first, pairs[i].second));
      for (const ContinuationScore& score : score_continuations(model, tokens)) {
        TextProbability& sum = out.emplace_back();
        for (const double logprob : score.logprobs) sum.logprob += logprob;
        sum.tokens = static_cast<std::int64_t>(score.logprobs.size());
      }
    }
    return out;
  };
}

std::vector<SampleRecord> answer_samples(const Decoder& base, const Decoder& student,
                                         const Tokenizer& tokenizer, const Dataset& data,
                                         std::size_t count) {
  std::vector<SampleRecord> out;
  std::vector<Prompt> prompts;
  const auto rows = data.eval_rows().empty() ? data.train_rows() : data.eval_rows();
  for (std::size_t i = 0; i < std::min(count, rows.size()); ++i) {
    Dataset::Sample sample = data.sample(rows[i], tokenizer);
    if (sample.prompt.empty()) continue;  // a text has none
    prompts.push_back({.id = "", .text = sample.prompt, .special = false});
    out.push_back({.prompt = std::move(sample.prompt), .wanted = std::move(sample.answer)});
  }
  if (prompts.empty()) return out;
  const SamplingOptions sampling{.max_tokens = kAnswer};
  const auto before = generate(base, tokenizer, prompts, sampling, 0);
  const auto after = generate(student, tokenizer, prompts, sampling, 0);
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i].before = before[i].text;
    out[i].after = after[i].text;
  }
  return out;
}

}  // namespace

BeforeAfter compare_models(const Decoder& base, const Decoder& student, const Tokenizer& tokenizer,
                           const Dataset& data, std::size_t samples) {
  BeforeAfter out;
  if (data.report().kind != "preference")
    out.samples = answer_samples(base, student, tokenizer, data, samples);
  out.forgetting = forgetting_json(measure_abilities(ask(base, tokenizer)),
                                   measure_abilities(ask(student, tokenizer)));
  return out;
}

}  // namespace lancet
