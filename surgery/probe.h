#pragma once
// Does the edit hold, and what else did it change? Conventions (editing reference 2.1, 2.5, 7.2):
//   nll(s|p)  mean of -log p over the tokens of s, teacher-forced, with a leading blank
//   says s    every token of s is the arg max: greedy decoding begins with s
//   ES, PS    nll(target) < nll(true) on the prompt, share over the paraphrases
//   EM, PEM   says the target on the prompt, share over the paraphrases
//   NS, NA    share over the neighbours: nll(answer) < nll(target); says the answer
//   (make_questions: whose) leak      share of same-template prompts of other subjects that now say
//   the target and did not before GE        1/2 (2/3 H_2 + 4/3 H_3): entropies in bits of bi- and
//   trigrams of words of sampled text (top-k 5)
//   RS        cosine of that text and of texts about subjects with the new answer
//   (reference_texts.h)

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "surgery/requests.h"

namespace lancet {

inline constexpr std::string_view kProbeConvention =
    "nll = mean over target tokens, teacher-forced, leading blank; em/pem: greedy tokens begin "
    "with "
    "the target's; ns/na: the neighbour's own answer is likelier than the target / begins the "
    "greedy tokens (the record's answer; with a base, its text where the record has none, or "
    "repeats the "
    "fact's true answer and the base says another); "
    "leak: other subjects that now say the target; ge: n-gram entropy in bits, 100 tokens, top-k "
    "5; "
    "free_*: greedy text up to its natural stop (end of text, line break, 24 tokens) holds the "
    "answer, "
    "where the teacher-forced figures are given the tokens before and cut it at the answer's end";

enum class ProbeKind {
  kPrompt,
  kParaphrase,
  kNeighbor,
  kLeak,
  kUnrelated,
  kNegation,    ///< negated_prompt(): must not say the target
  kDistracted,  ///< a neighbour behind the edited statement
  kReversed,    ///< reversed_prompt(): says the subject
  kUnknown      ///< invented names: must not say the target
};

/// One prompt to ask.
struct Question {
  std::size_t fact = 0;
  ProbeKind kind = ProbeKind::kPrompt;
  std::vector<TokenId> prompt, target,
      other;  ///< other = the true or the neighbour's answer; may be empty
};

struct Answer {
  double nll_target = 0;
  std::optional<double> nll_other;
  std::int64_t rank_target = 0;  ///< the worst rank of the target's tokens, 1 = says it
  bool says_target = false, says_other = false;
  double accuracy = 0;  ///< share of the target's tokens that are the arg max (zsRE, EasyEdit)
};

/// Questions of all facts. A neighbour without answer gets what `base` says (greedy), and so does
/// one whose answer is only the fact's own true answer (CounterFact's convention) where `base` says
/// something else. Without a base such neighbours keep what they have, and those without answer are
/// left out of NS and NA. A fact without leak prompts gets made-up ones (make_leak_prompts, 12 of
/// them). `deep` adds the kinds from kNegation on.
[[nodiscard]] std::vector<Question> make_questions(const Decoder* base, const Tokenizer& tokenizer,
                                                   const std::vector<Fact>& facts,
                                                   bool deep = false);
[[nodiscard]] std::vector<Answer> ask(const Decoder& model, const std::vector<Question>& questions);

/// Metrics of one fact; nothing where there is no prompt of the kind.
struct FactMetrics {
  std::optional<double> es, em, ps, pem, ns, na, leak, leak_unrelated, ge, rs;
  std::optional<double> ea, pa;  ///< token accuracy on the prompt and on the paraphrases
  /// Mean of p(target) - p(true), p = exp(-nll), on the prompt and the paraphrases; of
  /// p(answer) - p(target) on the neighbours: EM, PM and NM of the published code.
  std::optional<double> efficacy_magnitude, paraphrase_magnitude, neighborhood_magnitude;
  std::optional<double> negation;    ///< share of negated prompts that say the target
  std::optional<double> distracted;  ///< share of neighbours that keep their answer behind the edit
  std::optional<double> reversed;    ///< says the subject when asked the other way round
  std::optional<double> unknown;     ///< share of invented names that now get the target
  std::optional<double> entropy;     ///< of the next token over same-template prompts, nats
  /// Free generation with a natural stop: the text holds the target; is nothing but the target.
  std::optional<double> free_em, free_pem, free_exact;
};
/// `before` may be empty: leak then counts every prompt that says the target.
[[nodiscard]] FactMetrics measure(std::size_t fact, const std::vector<Question>& questions,
                                  const std::vector<Answer>& after,
                                  const std::vector<Answer>& before);
/// Mean over the facts that have the metric.
[[nodiscard]] FactMetrics mean_metrics(const std::vector<FactMetrics>& facts);
[[nodiscard]] Json metrics_to_json(const FactMetrics& metrics);

/// The text that ships for perplexity.
[[nodiscard]] fs::path shipped_perplexity_text();
/// Perplexity of the text that ships for it: its first `max_tokens` tokens (0 = all), each
/// paragraph on its own.
[[nodiscard]] double shipped_perplexity(const Decoder& model, const Tokenizer& tokenizer,
                                        std::int64_t max_tokens);

/// log p of the token after each prompt, [prompts, vocab].
[[nodiscard]] at::Tensor next_log_probs(const Decoder& model, const Tokenizer& tokenizer,
                                        const std::vector<std::string>& prompts);

/// Greedy text of `tokens` tokens after each prompt.
[[nodiscard]] std::vector<std::string> greedy_texts(const Decoder& model,
                                                    const Tokenizer& tokenizer,
                                                    const std::vector<std::string>& prompts,
                                                    std::int64_t tokens);

/// 1/2 (2/3 H_2 + 4/3 H_3) of the words of `text`.
[[nodiscard]] double ngram_entropy(std::string_view text);
/// A fact's generation prompts, each with a continuation of 100 tokens sampled from the five
/// likeliest: GE is the mean of their n-gram entropies, RS compares them with reference texts.
[[nodiscard]] std::vector<std::string> sampled_texts(const Decoder& model,
                                                     const Tokenizer& tokenizer,
                                                     const std::vector<std::string>& prompts,
                                                     std::uint64_t seed);

}  // namespace lancet
