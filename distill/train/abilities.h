#pragma once
// Does the student still know what its base knew? Perplexity on a text that ships with lancet and
// small tests (share/abilities/*.jsonl: {"prompt", "answer", "others"}), before and after training.
// A test item is passed when the answer is more likely than each of the others after the prompt,
// by log probability for each byte of it.

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"

namespace lancet {

/// Sum of log probabilities in nats of each continuation after its context, and its tokens.
struct TextProbability {
  double logprob = 0;
  std::int64_t tokens = 0;
};
/// (context, continuation) pairs asked of a model at once. An empty context: the whole text.
using AskProbabilities = std::function<std::vector<TextProbability>(
    const std::vector<std::pair<std::string, std::string>>&)>;

/// One measurement.
struct Abilities {
  struct Test {
    std::string name;  ///< file name: "facts", "arithmetic", "grammar", ...
    std::int64_t items = 0, passed = 0;
    double margin = 0;  ///< mean of the answer's log probability a byte minus the best other's
  };
  double perplexity = 0;  ///< of every fourth paragraph of share/texts/perplexity.txt
  std::int64_t tokens = 0;
  std::vector<Test> tests;
};
[[nodiscard]] Abilities measure_abilities(const AskProbabilities& ask);

/// {"perplexity": {"before","after","ratio","tokens"}, "tests": [{"name","items","before","after",
/// "margin_before","margin_after"}]}. The two were measured alike.
[[nodiscard]] Json forgetting_json(const Abilities& before, const Abilities& after);

}  // namespace lancet
