#include "distill/train/rollouts.h"

#include <optional>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "model/generate.h"

namespace lancet {
namespace {

/// The special token that some answer of the data ends with.
std::optional<TokenId> end_of(const MicroBatch& data, const Tokenizer& tokenizer) {
  const auto& begins = data.targets.sequence_begin;
  for (std::size_t s = 0; s + 1 < begins.size(); ++s) {
    if (begins[s + 1] == begins[s]) continue;
    const TokenId last = data.targets.next[static_cast<std::size_t>(begins[s + 1]) - 1];
    if (tokenizer.is_special(last)) return last;
  }
  return tokenizer.eos();
}

/// Each text up to its first counted token.
std::vector<Prompt> prompts_of(const MicroBatch& data) {
  std::vector<Prompt> out;
  const auto* ids = data.ids.const_data_ptr<std::int64_t>();
  std::int64_t begin = 0;
  for (std::size_t s = 0; s < data.segments.size(); ++s) {
    const auto first = static_cast<std::size_t>(data.targets.sequence_begin[s]);
    Prompt prompt;
    for (std::int64_t i = begin; i <= data.rows[first]; ++i)
      prompt.ids.push_back(static_cast<std::int32_t>(ids[i]));
    out.push_back(std::move(prompt));
    begin += data.segments[s];
  }
  return out;
}

/// 64 bits for the sampler of one micro-batch.
std::uint64_t seed_of(std::uint64_t seed, std::int64_t draw) {
  const Random random(seed, draw < 0 ? "rollouts of an evaluation" : "rollouts");
  const auto at = static_cast<std::uint64_t>(draw < 0 ? -1 - draw : draw);
  return std::uint64_t{random.bits(2 * at)} << 32 | random.bits(2 * at + 1);
}

}  // namespace

Rollouts::Rollouts(const Tokenizer& tokenizer, std::int64_t tokens, std::uint64_t seed)
    : tokenizer_(tokenizer), tokens_(tokens), seed_(seed) {
  if (tokens < 1)
    fail(ErrorKind::kUsage, "train",
         "--rollout-tokens: expected at least 1, found " + std::to_string(tokens));
}

MicroBatch Rollouts::sample(const Decoder& student, const MicroBatch& data,
                            std::int64_t draw) const {
  const std::optional<TokenId> end = end_of(data, tokenizer_);
  SamplingOptions options;
  options.max_tokens = tokens_;
  options.temperature = 1;
  if (end) options.end_ids = {*end};
  const std::vector<Prompt> prompts = prompts_of(data);
  const auto answers = generate(student, tokenizer_, prompts, options, seed_of(seed_, draw));
  std::vector<Example> examples;
  for (std::size_t s = 0; s < prompts.size(); ++s) {
    Example example{.ids = prompts[s].ids,
                    .target = std::vector<std::uint8_t>(prompts[s].ids.size(), 0),
                    .line = data.lines[s],
                    .teacher = {}};
    example.ids.insert(example.ids.end(), answers[s].ids.begin(), answers[s].ids.end());
    if (end && answers[s].finish_reason == "stop") example.ids.push_back(*end);
    example.target.resize(example.ids.size(), 1);
    examples.push_back(std::move(example));
  }
  return make_batch(examples);
}

}  // namespace lancet
