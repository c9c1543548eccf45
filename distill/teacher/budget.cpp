#include "distill/teacher/budget.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace lancet {
namespace {

constexpr double kPerMillion = 1e-6;

double as_double(std::uint64_t value) noexcept { return static_cast<double>(value); }

}  // namespace

Budget::Budget(TokenPrices prices, BudgetCaps caps) : prices_(prices), caps_(caps) {
  if (std::isnan(prices_.cached_input)) prices_.cached_input = prices_.input;
}

double Budget::cost(const TokenBound& bound) const noexcept {
  const double input = std::max(prices_.input, prices_.cached_input);
  return kPerMillion *
         (as_double(bound.prompt) * input + as_double(bound.completion) * prices_.output);
}

double Budget::cost(const TeacherUsage& usage) const noexcept {
  const std::uint64_t fresh = usage.prompt - std::min(usage.prompt, usage.cached);
  return kPerMillion *
         (as_double(fresh) * prices_.input + as_double(usage.cached) * prices_.cached_input +
          as_double(usage.completion) * prices_.output);
}

bool Budget::reserve(const TokenBound& bound) {
  const std::uint64_t requests = spent_.requests + requests_open_ + 1;
  const TokenBound hidden{hidden_ * (requests_open_ + 1), 0};
  const std::uint64_t tokens = spent_.tokens() + tokens_open_ + bound.total() + hidden.total();
  const double usd = spent_.usd + usd_open_ + cost(bound) + cost(hidden);
  if (caps_.requests > 0 && requests > caps_.requests) {
    reached_ = fmt::format("max_requests {} ({} sent)", caps_.requests, spent_.requests);
  } else if (caps_.tokens > 0 && tokens > caps_.tokens) {
    reached_ = fmt::format("max_tokens {} ({} spent, the next request may take {})", caps_.tokens,
                           spent_.tokens(), bound.total());
  } else if (caps_.usd > 0 && usd > caps_.usd) {
    reached_ = fmt::format("max_usd {} ({:.4f} spent, the next request may cost {:.4f})", caps_.usd,
                           spent_.usd, cost(bound));
  } else {
    ++requests_open_;
    tokens_open_ += bound.total();
    usd_open_ += cost(bound);
    return true;
  }
  return false;
}

void Budget::release(const TokenBound& bound) noexcept {
  --requests_open_;
  tokens_open_ -= bound.total();
  usd_open_ = requests_open_ == 0 ? 0 : usd_open_ - cost(bound);
}

void Budget::settle(const TokenBound& bound, const TeacherUsage& usage) {
  release(bound);
  recall(usage);
  if (usage.prompt > bound.prompt) hidden_ = std::max(hidden_, usage.prompt - bound.prompt);
}

LostSpending Budget::abandon() {
  const LostSpending lost{requests_open_, tokens_open_, usd_open_};
  requests_open_ = tokens_open_ = 0;
  usd_open_ = 0;
  recall(lost);
  return lost;
}

LostSpending Budget::lose(const TokenBound& bound, bool charged) {
  release(bound);
  const LostSpending lost{1, charged ? bound.total() : 0, charged ? cost(bound) : 0};
  recall(lost);
  return lost;
}

void Budget::recall(const TeacherUsage& usage, std::uint64_t requests) {
  spent_.requests += requests;
  spent_.prompt_tokens += usage.prompt;
  spent_.cached_tokens += usage.cached;
  spent_.completion_tokens += usage.completion;
  spent_.usd += cost(usage);
}

void Budget::recall(const LostSpending& lost) {
  spent_.requests += lost.requests;
  spent_.lost_tokens += lost.tokens;
  spent_.usd += lost.usd;
}

std::string Budget::reached() const { return reached_; }

Json Budget::projection(std::uint64_t done, std::uint64_t total) const {
  if (total == 0 || done * 100 < total || done == 0) return nullptr;
  const double factor = as_double(total) / as_double(done);
  return {{"tokens", static_cast<std::uint64_t>(factor * as_double(spent_.tokens()))},
          {"usd", factor * spent_.usd}};
}

Json Budget::json() const {
  return {{"requests", spent_.requests},           {"prompt_tokens", spent_.prompt_tokens},
          {"cached_tokens", spent_.cached_tokens}, {"completion_tokens", spent_.completion_tokens},
          {"lost_tokens", spent_.lost_tokens},     {"usd", spent_.usd}};
}

}  // namespace lancet
