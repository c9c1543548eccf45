// What answers add up to: shares, magnitudes, n-gram entropy.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

#include "model/generate.h"
#include "surgery/probe.h"

namespace lancet {
namespace {

/// A mean over some answers, or nothing when there is none.
class Mean {
 public:
  void add(double value) {
    ++count_;
    sum_ += value;
  }
  [[nodiscard]] std::optional<double> value() const {
    if (count_ == 0) return std::nullopt;
    return sum_ / static_cast<double>(count_);
  }

 private:
  double sum_ = 0;
  std::int64_t count_ = 0;
};

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
    {"es", &FactMetrics::es},
    {"em", &FactMetrics::em},
    {"ps", &FactMetrics::ps},
    {"pem", &FactMetrics::pem},
    {"ns", &FactMetrics::ns},
    {"na", &FactMetrics::na},
    {"leak", &FactMetrics::leak},
    {"leak_unrelated", &FactMetrics::leak_unrelated},
    {"ge", &FactMetrics::ge},
    {"rs", &FactMetrics::rs},
    {"ea", &FactMetrics::ea},
    {"pa", &FactMetrics::pa},
    {"efficacy_magnitude", &FactMetrics::efficacy_magnitude},
    {"paraphrase_magnitude", &FactMetrics::paraphrase_magnitude},
    {"neighborhood_magnitude", &FactMetrics::neighborhood_magnitude},
    {"negation", &FactMetrics::negation},
    {"distracted", &FactMetrics::distracted},
    {"reversed", &FactMetrics::reversed},
    {"unknown", &FactMetrics::unknown},
    {"entropy", &FactMetrics::entropy},
    {"free_em", &FactMetrics::free_em},
    {"free_pem", &FactMetrics::free_pem},
    {"free_exact", &FactMetrics::free_exact},
};

}  // namespace

FactMetrics measure(std::size_t fact, const std::vector<Question>& questions,
                    const std::vector<Answer>& after, const std::vector<Answer>& before) {
  Mean es, em, ps, pem, ns, na, leak, unrelated, ea, pa, e_size, p_size, n_size, negation,
      distracted, reversed, unknown;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    if (questions[i].fact != fact) continue;
    const Answer& answer = after[i];
    const bool leaked = answer.says_target && (before.empty() || !before[i].says_target);
    const bool better = answer.nll_other && answer.nll_target < *answer.nll_other;
    const double size =
        answer.nll_other ? std::exp(-answer.nll_target) - std::exp(-*answer.nll_other) : 0;
    const auto written = [&](Mean& likelier, Mean& says, Mean& tokens, Mean& magnitude) {
      if (answer.nll_other) likelier.add(better ? 1 : 0);
      if (answer.nll_other) magnitude.add(size);
      says.add(answer.says_target ? 1 : 0);
      tokens.add(answer.accuracy);
    };
    switch (questions[i].kind) {
      case ProbeKind::kPrompt:
        written(es, em, ea, e_size);
        break;
      case ProbeKind::kParaphrase:
        written(ps, pem, pa, p_size);
        break;
      case ProbeKind::kNeighbor:
        if (!answer.nll_other) break;
        ns.add(*answer.nll_other < answer.nll_target ? 1 : 0);
        na.add(answer.says_other ? 1 : 0);
        n_size.add(-size);
        break;
      case ProbeKind::kLeak:
        leak.add(leaked ? 1 : 0);
        break;
      case ProbeKind::kUnrelated:
        unrelated.add(leaked ? 1 : 0);
        break;
      case ProbeKind::kNegation:
        negation.add(answer.says_target ? 1 : 0);
        break;
      case ProbeKind::kDistracted:
        if (answer.nll_other) distracted.add(answer.says_other ? 1 : 0);
        break;
      case ProbeKind::kReversed:
        reversed.add(answer.says_target ? 1 : 0);
        break;
      case ProbeKind::kUnknown:
        unknown.add(leaked ? 1 : 0);
        break;
    }
  }
  FactMetrics out{.es = es.value(),
                  .em = em.value(),
                  .ps = ps.value(),
                  .pem = pem.value(),
                  .ns = ns.value(),
                  .na = na.value(),
                  .leak = leak.value(),
                  .leak_unrelated = unrelated.value()};
  out.ea = ea.value();
  out.pa = pa.value();
  out.efficacy_magnitude = e_size.value();
  out.paraphrase_magnitude = p_size.value();
  out.neighborhood_magnitude = n_size.value();
  out.negation = negation.value();
  out.distracted = distracted.value();
  out.reversed = reversed.value();
  out.unknown = unknown.value();
  return out;
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

double ngram_entropy(std::string_view text) {
  const auto words = split_words(text);
  return 0.5 * (2.0 / 3.0 * entropy(words, 2) + 4.0 / 3.0 * entropy(words, 3));
}

std::vector<std::string> sampled_texts(const Decoder& model, const Tokenizer& tokenizer,
                                       const std::vector<std::string>& prompts,
                                       std::uint64_t seed) {
  std::vector<Prompt> list;
  list.reserve(prompts.size());
  for (const std::string& prompt : prompts) list.push_back({"", prompt, true});
  SamplingOptions options;
  options.max_tokens = 100;
  options.temperature = 1;
  options.top_k = 5;
  const auto texts = generate(model, tokenizer, list, options, seed);
  std::vector<std::string> out;
  for (std::size_t i = 0; i < texts.size(); ++i) out.push_back(prompts[i] + texts[i].text);
  return out;
}

}  // namespace lancet
