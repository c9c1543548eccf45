#include "surgery/probe.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

#include "core/error.h"
#include "model/generate.h"
#include "model/score.h"
#include "surgery/leak_prompts.h"
#include "surgery/subject.h"

namespace lancet {
namespace {

constexpr std::int64_t kLeakPrompts = 12;
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

/// A share over some answers, or nothing when there is none.
class Share {
 public:
  void add(bool yes) {
    ++count_;
    if (yes) ++yes_;
  }
  [[nodiscard]] std::optional<double> value() const {
    if (count_ == 0) return std::nullopt;
    return static_cast<double>(yes_) / static_cast<double>(count_);
  }

 private:
  std::int64_t yes_ = 0, count_ = 0;
};

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

double entropy(const std::vector<std::string>& words, std::size_t n) {
  std::map<std::string, std::int64_t> counts;
  std::int64_t total = 0;
  for (std::size_t i = 0; i + n <= words.size(); ++i, ++total) {
    std::string key;
    for (std::size_t j = 0; j < n; ++j) key += words[i + j] + '\x1f';
    ++counts[key];
  }
  double sum = 0;
  for (const auto& [key, count] : counts) {
    const double p = static_cast<double>(count) / static_cast<double>(total);
    sum -= p * std::log2(p);
  }
  return sum;
}

/// Words and single punctuation marks; bytes beyond ASCII belong to words.
std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  bool inside = false;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = byte >= 0x80 || std::isalnum(byte) != 0;
    if (letter && inside) {
      words.back() += c;
    } else if (std::isspace(byte) == 0) {
      words.emplace_back(1, c);
    }
    inside = letter;
  }
  return words;
}

void add_metric(std::optional<double>& sum, int& count, const std::optional<double>& value) {
  if (!value) return;
  sum = sum.value_or(0) + *value;
  ++count;
}

constexpr std::pair<const char*, std::optional<double> FactMetrics::*> kMetrics[] = {
    {"es", &FactMetrics::es},     {"em", &FactMetrics::em},
    {"ps", &FactMetrics::ps},     {"pem", &FactMetrics::pem},
    {"ns", &FactMetrics::ns},     {"na", &FactMetrics::na},
    {"leak", &FactMetrics::leak}, {"leak_unrelated", &FactMetrics::leak_unrelated},
    {"ge", &FactMetrics::ge},
};

}  // namespace

std::vector<Question> make_questions(const Decoder* base, const Tokenizer& tokenizer,
                                     const std::vector<Fact>& facts) {
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
    if (!question.other.empty()) {
      const ContinuationScore& other = scores[next++];
      answer.nll_other = mean_nll(other);
      answer.says_other = *std::ranges::max_element(other.ranks) == 1;
    }
    out.push_back(answer);
  }
  return out;
}

FactMetrics measure(std::size_t fact, const std::vector<Question>& questions,
                    const std::vector<Answer>& after, const std::vector<Answer>& before) {
  Share es, em, ps, pem, ns, na, leak, unrelated;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    if (questions[i].fact != fact) continue;
    const Answer& answer = after[i];
    const bool better = answer.nll_other && answer.nll_target < *answer.nll_other;
    const bool leaked = answer.says_target && (before.empty() || !before[i].says_target);
    switch (questions[i].kind) {
      case ProbeKind::kPrompt:
        if (answer.nll_other) es.add(better);
        em.add(answer.says_target);
        break;
      case ProbeKind::kParaphrase:
        if (answer.nll_other) ps.add(better);
        pem.add(answer.says_target);
        break;
      case ProbeKind::kNeighbor:
        if (answer.nll_other) ns.add(*answer.nll_other < answer.nll_target);
        if (answer.nll_other) na.add(answer.says_other);
        break;
      case ProbeKind::kLeak:
        leak.add(leaked);
        break;
      case ProbeKind::kUnrelated:
        unrelated.add(leaked);
        break;
    }
  }
  return {es.value(), em.value(),   ps.value(),        pem.value(), ns.value(),
          na.value(), leak.value(), unrelated.value(), {}};
}

FactMetrics mean_metrics(const std::vector<FactMetrics>& facts) {
  FactMetrics mean;
  for (const auto& [name, member] : kMetrics) {
    int count = 0;
    for (const FactMetrics& fact : facts) add_metric(mean.*member, count, fact.*member);
    if (count > 0) mean.*member = *(mean.*member) / count;
  }
  return mean;
}

Json metrics_to_json(const FactMetrics& metrics) {
  Json json = Json::object();
  for (const auto& [name, member] : kMetrics)
    json[name] = metrics.*member ? Json(*(metrics.*member)) : Json();
  return json;
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

std::vector<std::string> greedy_texts(const Decoder& model, const Tokenizer& tokenizer,
                                      const std::vector<std::string>& prompts,
                                      std::int64_t tokens) {
  std::vector<std::vector<TokenId>> ids;
  for (const std::string& prompt : prompts) ids.push_back(encode(tokenizer, prompt));
  std::vector<std::string> out;
  for (const auto& text : generate_greedy(model, ids, tokens))
    out.push_back(tokenizer.decode(text));
  return out;
}

double ngram_entropy(std::string_view text) {
  const auto words = split_words(text);
  return 0.5 * (2.0 / 3.0 * entropy(words, 2) + 4.0 / 3.0 * entropy(words, 3));
}

double fluency(const Decoder& model, const Tokenizer& tokenizer,
               const std::vector<std::string>& prompts, std::uint64_t seed) {
  std::vector<Prompt> list;
  for (const std::string& prompt : prompts) list.push_back({"", prompt, true});
  SamplingOptions options;
  options.max_tokens = 100;
  options.temperature = 1;
  options.top_k = 5;
  double sum = 0;
  const auto texts = generate(model, tokenizer, list, options, seed);
  for (std::size_t i = 0; i < texts.size(); ++i) sum += ngram_entropy(prompts[i] + texts[i].text);
  return texts.empty() ? 0 : sum / static_cast<double>(texts.size());
}

}  // namespace lancet
