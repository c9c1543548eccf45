#pragma once
// Tokens and money: what was spent, what it will come to, and the caps that end a run.
//
// A request is sent only when its largest possible cost still fits under every cap beside what was
// spent and what is under way. So no cap is exceeded by a server that keeps to max_tokens, but for
// what its chat template adds unseen to the first requests (learnt from their usage); and
// what a request that failed after it was sent may have cost is counted at its largest. Only a kill
// can hide spending: of the requests in flight at that moment.

#include <cstdint>
#include <limits>
#include <string>

#include "core/json.h"
#include "distill/teacher/answer.h"
#include "distill/teacher/journal.h"
#include "distill/teacher/request.h"

namespace lancet {

/// US dollars for a million tokens.
struct TokenPrices {
  double input = 0, output = 0;
  double cached_input = std::numeric_limits<double>::quiet_NaN();  ///< NaN: as input
};

/// 0 = no cap.
struct BudgetCaps {
  std::uint64_t requests = 0, tokens = 0;
  double usd = 0;
};

struct Spending {
  std::uint64_t requests = 0, prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  std::uint64_t lost_tokens = 0;  ///< at most spent on requests without an answer
  double usd = 0;
  [[nodiscard]] std::uint64_t tokens() const noexcept {
    return prompt_tokens + completion_tokens + lost_tokens;
  }
};

class Budget {
 public:
  Budget(TokenPrices prices, BudgetCaps caps);

  /// Sets `bound` aside. False: a cap does not allow it, at least not while others are under way.
  [[nodiscard]] bool reserve(const TokenBound& bound);
  /// The reserved request was answered.
  void settle(const TokenBound& bound, const TeacherUsage& usage);
  /// It was not: `charged` says whether it may have cost something. Returns what the journal keeps.
  LostSpending lose(const TokenBound& bound, bool charged);

  /// All that is reserved, as lost: for a run that ends with requests in flight.
  LostSpending abandon();

  /// Spending of earlier runs, as their journal tells.
  void recall(const TeacherUsage& usage, std::uint64_t requests = 1);
  void recall(const LostSpending& lost);

  [[nodiscard]] const Spending& spent() const noexcept { return spent_; }
  /// The cap that refused last, in words: "max_usd 5 (4.98 spent)".
  [[nodiscard]] std::string reached() const;
  /// What everything comes to when `done` of `total` is done: linear; nothing before one percent.
  [[nodiscard]] Json projection(std::uint64_t done, std::uint64_t total) const;
  [[nodiscard]] Json json() const;
  [[nodiscard]] double cost(const TokenBound& bound) const noexcept;

 private:
  TokenPrices prices_;
  BudgetCaps caps_;
  Spending spent_;
  std::uint64_t requests_open_ = 0, tokens_open_ = 0;
  double usd_open_ = 0;
  std::uint64_t hidden_ = 0;  ///< most tokens that a template has added beyond a prompt's bound
  std::string reached_;
  [[nodiscard]] double cost(const TeacherUsage& usage) const noexcept;
  void release(const TokenBound& bound) noexcept;
};

}  // namespace lancet
