#include "surgery/checks.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "model/generate.h"
#include "model/score.h"
#include "surgery/files/words.h"
#include "surgery/subject.h"

namespace lancet {
namespace {

constexpr std::size_t kBatch = 64;     ///< prompts that are continued together
constexpr std::size_t kKeptWords = 3;  ///< that must stay where nothing is to change

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string first_words(const std::string& text) {
  std::size_t end = 0;
  for (std::size_t i = 0; i < kKeptWords && end < text.size(); ++i) {
    end = text.find_first_not_of(' ', end);
    end = end == std::string::npos ? text.size() : std::min(text.find(' ', end), text.size());
  }
  return text.substr(0, end);
}

/// Texts of prompts, each asked once.
class Texts {
 public:
  Texts(const Decoder* model, const Tokenizer& tokenizer, const std::vector<std::string>& prompts) {
    if (model == nullptr) return;
    const auto texts = free_texts(*model, tokenizer, prompts);
    for (std::size_t i = 0; i < prompts.size(); ++i) texts_[prompts[i]] = texts[i];
  }
  [[nodiscard]] const std::string& of(const std::string& prompt) const { return texts_.at(prompt); }

 private:
  std::map<std::string, std::string> texts_;
};

/// Whether `text` holds every answer, in one of its forms each.
bool holds_all(const std::string& text, const std::vector<std::vector<std::string>>& answers) {
  return std::ranges::all_of(answers, [&](const auto& forms) {
    return std::ranges::any_of(forms, [&](const auto& form) { return holds_answer(text, form); });
  });
}

/// Greedy continuations, some prompts at a time.
std::vector<std::vector<TokenId>> continue_all(const Decoder& model,
                                               const std::vector<std::vector<TokenId>>& prompts,
                                               std::int64_t tokens) {
  std::vector<std::vector<TokenId>> out;
  for (std::size_t first = 0; first < prompts.size(); first += kBatch) {
    const auto last = std::min(prompts.size(), first + kBatch);
    const std::vector<std::vector<TokenId>> some(
        prompts.begin() + static_cast<std::ptrdiff_t>(first),
        prompts.begin() + static_cast<std::ptrdiff_t>(last));
    for (std::vector<TokenId>& text : generate_greedy(model, some, tokens))
      out.push_back(std::move(text));
  }
  return out;
}

/// Of each check, share of the tokens that are the first choice when those before are given: of an
/// answer's forms the best, of several answers the worst. Nothing where it has none, or keeps.
std::vector<std::optional<double>> forced_accuracies(
    const Decoder& model, const Tokenizer& tokenizer,
    const std::vector<const Fact::Check*>& checks) {
  std::vector<std::pair<std::vector<TokenId>, std::vector<TokenId>>> pairs;
  for (const Fact::Check* check : checks) {
    if (check->keeps) continue;
    for (const auto& forms : check->answers) {
      for (const std::string& form : forms)
        pairs.emplace_back(tokenizer.encode(check->prompt).ids,
                           target_tokens(tokenizer, check->prompt, form));
    }
  }
  const auto scores = score_continuations(model, pairs);
  std::vector<std::optional<double>> out;
  std::size_t next = 0;
  for (const Fact::Check* check : checks) {
    out.emplace_back();
    if (check->keeps) continue;
    for (const auto& forms : check->answers) {
      double best = 0;
      for (std::size_t i = 0; i < forms.size(); ++i) {
        const auto& ranks = scores[next++].ranks;
        best = std::max(best, static_cast<double>(std::ranges::count(ranks, 1)) /
                                  static_cast<double>(ranks.size()));
      }
      out.back() = std::min(out.back().value_or(1), best);
    }
  }
  return out;
}

/// Of each check that keeps and has an answer, share of the answer's places (the tokens before
/// given) where both models have the same first choice: EasyEdit's locality.
std::vector<std::optional<double>> kept_shares(const Decoder& model, const Decoder& base,
                                               const Tokenizer& tokenizer,
                                               const std::vector<const Fact::Check*>& checks) {
  std::vector<std::vector<TokenId>> prefixes;
  std::vector<std::size_t> counts;
  for (const Fact::Check* check : checks) {
    counts.push_back(0);
    if (!check->keeps || check->answers.empty()) continue;
    std::vector<TokenId> ids = tokenizer.encode(check->prompt).ids;
    for (const TokenId id :
         target_tokens(tokenizer, check->prompt, check->answers.front().front())) {
      prefixes.push_back(ids);
      ids.push_back(id);
      ++counts.back();
    }
  }
  const auto now = continue_all(model, prefixes, 1), before = continue_all(base, prefixes, 1);
  std::vector<std::optional<double>> out;
  std::size_t next = 0;
  for (const std::size_t count : counts) {
    out.emplace_back();
    std::size_t same = 0;
    for (std::size_t i = 0; i < count; ++i, ++next) same += now[next] == before[next] ? 1 : 0;
    if (count > 0) out.back() = static_cast<double>(same) / static_cast<double>(count);
  }
  return out;
}

/// One set of checks.
struct Test {
  std::string group;
  bool counts = true, all = false;
  std::vector<bool> free;
  std::vector<double> forced;  ///< of the checks that have answers
};

double passed(const Test& test) {
  const auto yes = std::ranges::count(test.free, true);
  return (test.all ? yes == std::ssize(test.free) : yes > 0) ? 1 : 0;
}

std::optional<double> forced(const Test& test) {
  if (test.forced.empty()) return std::nullopt;
  return test.all ? *std::ranges::min_element(test.forced) : *std::ranges::max_element(test.forced);
}

std::vector<std::string> all_prompts(const std::vector<const Fact::Check*>& checks,
                                     bool conditions) {
  std::vector<std::string> out;
  for (const Fact::Check* check : checks) {
    out.push_back(check->prompt);
    for (const Fact::Check& condition : check->conditions) {
      if (conditions) out.push_back(condition.prompt);
    }
  }
  std::ranges::sort(out);
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Json group_scores(const std::vector<Test>& tests) {
  struct Sum {
    std::int64_t tests = 0, forced_tests = 0;
    double free = 0, forced = 0;
  };
  std::map<std::string, Sum> sums;
  for (const Test& test : tests) {
    if (!test.counts) continue;
    Sum& sum = sums[test.group];
    ++sum.tests;
    sum.free += passed(test);
    sum.forced += forced(test).value_or(0);
    sum.forced_tests += test.forced.empty() ? 0 : 1;
  }
  Json out = Json::object();
  for (const auto& [group, sum] : sums) {
    out[group] = {{"tests", sum.tests},
                  {"free", sum.free / static_cast<double>(sum.tests)},
                  {"teacher_forced", nullptr}};
    if (sum.forced_tests > 0)
      out[group]["teacher_forced"] = sum.forced / static_cast<double>(sum.forced_tests);
  }
  return out;
}

}  // namespace

std::vector<std::string> free_texts(const Decoder& model, const Tokenizer& tokenizer,
                                    const std::vector<std::string>& prompts) {
  std::vector<std::vector<TokenId>> ids;
  ids.reserve(prompts.size());
  for (const std::string& prompt : prompts) ids.push_back(tokenizer.encode(prompt).ids);
  std::vector<std::vector<TokenId>> all = continue_all(model, ids, kFreeTokens);
  const std::optional<TokenId> end = tokenizer.eos();
  std::vector<std::string> out;
  for (std::vector<TokenId>& text : all) {
    if (end) text.erase(std::ranges::find(text, *end), text.end());
    std::string words = tokenizer.decode(text);
    const std::size_t start = words.find_first_not_of(" \n\r\t");
    words = start == std::string::npos ? "" : words.substr(start);
    out.push_back(words.substr(0, words.find('\n')));
  }
  return out;
}

bool holds_answer(std::string_view text, std::string_view answer) {
  return find_word(lower(text), lower(answer)) != std::string::npos;
}

bool is_answer(std::string_view text, std::string_view answer) {
  const auto bare = [](std::string_view words) {
    while (words.ends_with('.') || words.ends_with(' ')) words.remove_suffix(1);
    return words;
  };
  return bare(text) == bare(answer);
}

Json run_checks(const Decoder& model, const Decoder* base, const Tokenizer& tokenizer,
                const std::vector<Fact>& facts) {
  std::vector<const Fact::Check*> checks;
  for (const Fact& fact : facts) {
    for (const Fact::Check& check : fact.checks) checks.push_back(&check);
  }
  if (checks.empty()) return Json::object();
  const Texts now(&model, tokenizer, all_prompts(checks, false)),
      before(base, tokenizer, all_prompts(checks, true));
  const auto accuracies = forced_accuracies(model, tokenizer, checks);
  const auto shares = base == nullptr ? std::vector<std::optional<double>>(checks.size())
                                      : kept_shares(model, *base, tokenizer, checks);
  std::vector<Test> tests;
  std::size_t next = 0;
  for (const Fact& fact : facts) {
    std::map<std::string, std::size_t> sets;
    for (const Fact::Check& check : fact.checks) {
      std::size_t place = tests.size();
      if (!check.set.empty())
        place = sets.try_emplace(check.group + check.set, place).first->second;
      if (place == tests.size()) tests.push_back({check.group, true, check.all, {}, {}});
      Test& test = tests[place];
      test.free.push_back(check.keeps ? base != nullptr && first_words(now.of(check.prompt)) ==
                                                               first_words(before.of(check.prompt))
                                      : holds_all(now.of(check.prompt), check.answers));
      if (const auto& share = check.keeps ? shares[next] : accuracies[next])
        test.forced.push_back(*share);
      ++next;
      if (check.keeps && base == nullptr) test.counts = false;
      for (const Fact::Check& condition : check.conditions) {
        if (base == nullptr || !holds_all(before.of(condition.prompt), condition.answers))
          test.counts = false;
      }
    }
  }
  return group_scores(tests);
}

}  // namespace lancet
