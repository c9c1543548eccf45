#include "surgery/checks.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "model/generate.h"
#include "model/score.h"
#include "surgery/subject.h"

namespace lancet {
namespace {

constexpr std::size_t kBatch = 64;     ///< prompts that are continued together
constexpr std::size_t kKeptWords = 3;  ///< that must stay where nothing is to change

bool is_word(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x80 || std::isalnum(byte) != 0;
}

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

bool holds_any(const std::string& text, const std::vector<std::string>& answers) {
  return std::ranges::any_of(answers,
                             [&](const auto& answer) { return holds_answer(text, answer); });
}

/// Best token accuracy over the answers of each check; 0 for one without answers.
std::vector<double> forced_accuracies(const Decoder& model, const Tokenizer& tokenizer,
                                      const std::vector<const Fact::Check*>& checks) {
  std::vector<std::pair<std::vector<TokenId>, std::vector<TokenId>>> pairs;
  for (const Fact::Check* check : checks) {
    for (const std::string& answer : check->answers) {
      pairs.emplace_back(tokenizer.encode(check->prompt).ids,
                         target_tokens(tokenizer, check->prompt, answer));
    }
  }
  const auto scores = score_continuations(model, pairs);
  std::vector<double> out;
  std::size_t next = 0;
  for (const Fact::Check* check : checks) {
    double best = 0;
    for (std::size_t i = 0; i < check->answers.size(); ++i) {
      const auto& ranks = scores[next++].ranks;
      best = std::max(best, static_cast<double>(std::ranges::count(ranks, 1)) /
                                static_cast<double>(ranks.size()));
    }
    out.push_back(best);
  }
  return out;
}

/// One set of checks.
struct Test {
  std::string group;
  bool counts = true, all = false, has_answers = true;
  std::vector<bool> free;
  std::vector<double> forced;
};

double passed(const Test& test) {
  const auto yes = std::ranges::count(test.free, true);
  return (test.all ? yes == std::ssize(test.free) : yes > 0) ? 1 : 0;
}

double forced(const Test& test) {
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
    std::int64_t tests = 0;
    double free = 0, forced = 0;
    bool has_answers = false;
  };
  std::map<std::string, Sum> sums;
  for (const Test& test : tests) {
    if (!test.counts) continue;
    Sum& sum = sums[test.group];
    ++sum.tests;
    sum.free += passed(test);
    sum.forced += forced(test);
    sum.has_answers = sum.has_answers || test.has_answers;
  }
  Json out = Json::object();
  for (const auto& [group, sum] : sums) {
    const auto count = static_cast<double>(sum.tests);
    out[group] = {{"tests", sum.tests},
                  {"free", sum.free / count},
                  {"teacher_forced", sum.has_answers ? Json(sum.forced / count) : Json()}};
  }
  return out;
}

}  // namespace

std::vector<std::string> free_texts(const Decoder& model, const Tokenizer& tokenizer,
                                    const std::vector<std::string>& prompts) {
  std::vector<std::vector<TokenId>> all;
  for (std::size_t first = 0; first < prompts.size(); first += kBatch) {
    std::vector<std::vector<TokenId>> ids;
    for (std::size_t i = first; i < std::min(prompts.size(), first + kBatch); ++i)
      ids.push_back(tokenizer.encode(prompts[i]).ids);
    for (std::vector<TokenId>& text : generate_greedy(model, ids, kFreeTokens))
      all.push_back(std::move(text));
  }
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
  const std::string where = lower(text), what = lower(answer);
  if (what.empty()) return false;
  for (std::size_t at = where.find(what); at != std::string::npos; at = where.find(what, at + 1)) {
    const std::size_t end = at + what.size();
    const bool begins = at == 0 || !is_word(where[at - 1]) || !is_word(what.front());
    const bool ends = end == where.size() || !is_word(where[end]) || !is_word(what.back());
    if (begins && ends) return true;
  }
  return false;
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
  const std::vector<double> accuracies = forced_accuracies(model, tokenizer, checks);
  std::vector<Test> tests;
  std::size_t next = 0;
  for (const Fact& fact : facts) {
    std::map<std::string, std::size_t> sets;
    for (const Fact::Check& check : fact.checks) {
      std::size_t place = tests.size();
      if (!check.set.empty())
        place = sets.try_emplace(check.group + check.set, place).first->second;
      if (place == tests.size())
        tests.push_back({check.group, true, check.all, !check.answers.empty(), {}, {}});
      Test& test = tests[place];
      const bool keeps = check.answers.empty();
      test.free.push_back(keeps ? base != nullptr && first_words(now.of(check.prompt)) ==
                                                         first_words(before.of(check.prompt))
                                : holds_any(now.of(check.prompt), check.answers));
      test.forced.push_back(accuracies[next++]);
      if (keeps && base == nullptr) test.counts = false;
      for (const Fact::Check& condition : check.conditions) {
        if (base == nullptr || !holds_any(before.of(condition.prompt), condition.answers))
          test.counts = false;
      }
    }
  }
  return group_scores(tests);
}

}  // namespace lancet
