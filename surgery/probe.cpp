#include "surgery/probe.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

#include <c10/core/GradMode.h>

#include "core/error.h"
#include "model/generate.h"
#include "model/score.h"
#include "surgery/key.h"
#include "surgery/leak_prompts.h"
#include "surgery/probe_prompts.h"
#include "surgery/subject.h"

namespace lancet {
namespace {

constexpr std::int64_t kLeakPrompts = 12;
constexpr std::int64_t kUnknownPrompts = 5;
constexpr std::size_t kAnswerTokens = 2;  ///< of the unedited model's own answer

std::vector<TokenId> encode(const Tokenizer& tokenizer, const std::string& text) {
  return tokenizer.encode(text).ids;
}

Question question(const Tokenizer& tokenizer, std::size_t fact, ProbeKind kind,
                  const std::string& prompt, const std::string& target,
                  const std::optional<std::string>& other) {
  Question out{fact, kind, encode(tokenizer, prompt), target_tokens(tokenizer, prompt, target), {}};
  if (other && !other->empty()) out.other = target_tokens(tokenizer, prompt, *other);
  return out;
}

/// Greedy continuations of `base` as the answers of these questions, where they do not begin with
/// the answer given.
void take_own_answers(const Decoder& base, std::vector<Question>& questions,
                      const std::vector<std::size_t>& which) {
  if (which.empty()) return;
  std::vector<std::vector<TokenId>> prompts;
  std::size_t longest = kAnswerTokens;
  for (const std::size_t i : which) {
    prompts.push_back(questions[i].prompt);
    longest = std::max(longest, questions[i].other.size());
  }
  const auto texts = generate_greedy(base, prompts, static_cast<std::int64_t>(longest));
  for (std::size_t i = 0; i < which.size(); ++i) {
    std::vector<TokenId>& answer = questions[which[i]].other;
    const bool says = !answer.empty() && answer.size() <= texts[i].size() &&
                      std::equal(answer.begin(), answer.end(), texts[i].begin());
    if (!says)
      answer.assign(texts[i].begin(), texts[i].begin() + std::min<std::ptrdiff_t>(
                                                             kAnswerTokens, std::ssize(texts[i])));
  }
}

double mean_nll(const ContinuationScore& score) {
  double sum = 0;
  for (const double logprob : score.logprobs) sum -= logprob;
  return sum / static_cast<double>(score.logprobs.size());
}

}  // namespace

std::vector<Question> make_questions(const Decoder* base, const Tokenizer& tokenizer,
                                     const std::vector<Fact>& facts, bool deep) {
  std::vector<Question> out;
  std::vector<std::size_t> open;  // neighbours that may take the base's own answer
  for (std::size_t f = 0; f < facts.size(); ++f) {
    const Fact& fact = facts[f];
    const auto add = [&](ProbeKind kind, const std::string& prompt,
                         const std::optional<std::string>& other) {
      out.push_back(question(tokenizer, f, kind, prompt, fact.target, other));
    };
    add(ProbeKind::kPrompt, fill_template(fact.prompt, fact.subject), fact.truth);
    for (const auto& prompt : fact.paraphrases) add(ProbeKind::kParaphrase, prompt, fact.truth);
    for (const auto& neighbor : fact.neighbors) {
      if (!neighbor.answer || neighbor.answer == fact.truth) open.push_back(out.size());
      add(ProbeKind::kNeighbor, neighbor.prompt, neighbor.answer);
    }
    const auto leak = fact.leak.empty() ? make_leak_prompts(fact, kLeakPrompts) : fact.leak;
    for (const auto& prompt : leak) add(ProbeKind::kLeak, prompt, std::nullopt);
    for (const auto& prompt : fact.unrelated) add(ProbeKind::kUnrelated, prompt, std::nullopt);
    if (!deep) continue;
    if (const auto prompt = negated_prompt(fact)) add(ProbeKind::kNegation, *prompt, std::nullopt);
    for (const auto& neighbor : fact.neighbors) {
      if (!neighbor.answer || neighbor.answer == fact.truth) open.push_back(out.size());
      add(ProbeKind::kDistracted, distracted_prompt(fact, neighbor.prompt), neighbor.answer);
    }
    if (const auto asked = reversed_prompt(fact))
      out.push_back(question(tokenizer, f, ProbeKind::kReversed, asked->first, asked->second, {}));
    for (const auto& prompt : unknown_prompts(fact, kUnknownPrompts))
      add(ProbeKind::kUnknown, prompt, std::nullopt);
  }
  if (base != nullptr) take_own_answers(*base, out, open);
  return out;
}

std::vector<Answer> ask(const Decoder& model, const std::vector<Question>& questions) {
  std::vector<std::pair<std::vector<TokenId>, std::vector<TokenId>>> pairs;
  for (const Question& question : questions) {
    pairs.emplace_back(question.prompt, question.target);
    if (!question.other.empty()) pairs.emplace_back(question.prompt, question.other);
  }
  const auto scores = score_continuations(model, pairs);
  std::vector<Answer> out;
  std::size_t next = 0;
  for (const Question& question : questions) {
    Answer answer;
    const ContinuationScore& target = scores[next++];
    answer.nll_target = mean_nll(target);
    answer.rank_target = *std::ranges::max_element(target.ranks);
    answer.says_target = answer.rank_target == 1;
    answer.accuracy = static_cast<double>(std::ranges::count(target.ranks, 1)) /
                      static_cast<double>(target.ranks.size());
    if (!question.other.empty()) {
      const ContinuationScore& other = scores[next++];
      answer.nll_other = mean_nll(other);
      answer.says_other = *std::ranges::max_element(other.ranks) == 1;
    }
    out.push_back(answer);
  }
  return out;
}

fs::path shipped_perplexity_text() { return share_dir() / "texts" / "perplexity.txt"; }

double shipped_perplexity(const Decoder& model, const Tokenizer& tokenizer,
                          std::int64_t max_tokens) {
  const std::string text = read_file(shipped_perplexity_text(), 1 << 24);
  ScoreRequest request;
  std::int64_t tokens = 0;
  for (std::size_t at = 0; at < text.size() && (max_tokens == 0 || tokens < max_tokens);) {
    const std::size_t end = std::min(text.find("\n\n", at), text.size());
    request.texts.push_back(text.substr(at, end - at));
    std::vector<TokenId> ids = encode(tokenizer, request.texts.back());
    const std::int64_t left = max_tokens - tokens;
    tokens += std::ssize(ids);
    if (max_tokens > 0 && std::ssize(ids) > left) {
      ids.resize(static_cast<std::size_t>(left));
      request.texts.back() = tokenizer.decode(ids);
    }
    at = end + 2;
  }
  return score(model, tokenizer, request).perplexity;
}

at::Tensor next_log_probs(const Decoder& model, const Tokenizer& tokenizer,
                          const std::vector<std::string>& prompts) {
  const c10::AutoGradMode no_gradient(false);
  std::vector<PromptRow> rows;
  rows.reserve(prompts.size());
  for (const std::string& prompt : prompts) rows.push_back({encode(tokenizer, prompt), 0});
  Pass pass;
  const at::Tensor ids =
      pad_rows(rows, 0, std::ssize(rows), pass.lengths).to(model.options().device());
  const at::Tensor hidden = model.run(model.embed(ids), 0, model.spec().layers, pass);
  std::vector<at::Tensor> last;
  for (std::int64_t r = 0; r < hidden.size(0); ++r)
    last.push_back(hidden[r][pass.lengths[static_cast<std::size_t>(r)] - 1]);
  return at::log_softmax(model.head(at::stack(last)), -1);
}

std::vector<std::string> greedy_texts(const Decoder& model, const Tokenizer& tokenizer,
                                      const std::vector<std::string>& prompts,
                                      std::int64_t tokens) {
  std::vector<std::vector<TokenId>> ids;
  ids.reserve(prompts.size());
  for (const std::string& prompt : prompts) ids.push_back(encode(tokenizer, prompt));
  std::vector<std::string> out;
  for (const auto& text : generate_greedy(model, ids, tokens))
    out.push_back(tokenizer.decode(text));
  return out;
}

}  // namespace lancet
