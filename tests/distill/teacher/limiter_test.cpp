#include "distill/teacher/limiter.h"

#include <deque>

#include "core/rng.h"
#include "distill/teacher/budget.h"
#include "distill/teacher/endpoint.h"
#include "distill/teacher/retry.h"
#include "distill/teacher/silence.h"
#include "tests/catch.h"

using namespace lancet;

TEST_CASE("limiter: a window of answers adds one, an overload halves, and only once a window") {
  Limiter limiter(4, 100);
  CHECK(limiter.window() == 4);
  for (int round = 0; round < 5; ++round) {
    std::vector<std::uint64_t> tickets;
    while (limiter.has_room()) tickets.push_back(limiter.start());
    const auto before = limiter.window();
    for (const auto ticket : tickets) {
      limiter.succeed(ticket);
      (void)limiter.start();  // keeps it full: only a full window grows
    }
    CHECK(limiter.window() <= before + 1);
    for (std::size_t i = 0; i < tickets.size(); ++i) limiter.end(0);
  }
  CHECK(limiter.window() >= 7);
  CHECK(limiter.window() <= 9);

  std::vector<std::uint64_t> tickets;
  while (limiter.has_room()) tickets.push_back(limiter.start());
  const auto full = limiter.window();
  for (const auto ticket : tickets) limiter.overload(ticket);
  CHECK(limiter.window() == full / 2);  // one congestion, one answer
  CHECK(limiter.in_flight() == 0);
  limiter.overload(limiter.start());
  CHECK(limiter.window() == full / 4);
}

TEST_CASE("limiter: never below one, never above the most, in flight never above the window") {
  const Random random(3, "limiter");
  Limiter limiter(8, 16);
  std::deque<std::uint64_t> open;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    if (limiter.has_room() && random.uniform64(3 * i) < 0.7) open.push_back(limiter.start());
    CHECK(limiter.in_flight() == open.size());
    if (!open.empty() && random.uniform64(3 * i + 1) < 0.6) {
      const double kind = random.uniform64(3 * i + 2);
      const auto ticket = open.front();
      open.pop_front();
      kind < 0.8 ? limiter.succeed(ticket)
                 : (kind < 0.9 ? limiter.overload(ticket) : limiter.end(ticket));
    }
    REQUIRE(limiter.window() >= 1);
    REQUIRE(limiter.window() <= 16);
  }
}

TEST_CASE("minute window: no sixty seconds hold more than the limit, whatever is asked when") {
  const Random random(5, "minute");
  for (const std::uint64_t limit : {1ULL, 7ULL, 100ULL}) {
    MinuteWindow window(limit);
    std::deque<std::pair<double, std::uint64_t>> taken;
    double now = 0;
    std::uint64_t total = 0;
    for (std::uint64_t i = 0; i < 4000; ++i) {
      now += random.uniform64(2 * i) * 3;
      const std::uint64_t amount = 1 + random.bits(2 * i + 1) % (limit < 5 ? 1 : 5);
      const double wait = window.wait(now, amount);
      REQUIRE(wait >= 0);
      REQUIRE(wait <= 60);
      if (wait > 0) {
        // Exactly then (but for rounding) there is room: not a moment later than needed.
        CHECK(window.wait(now + wait, amount) < 1e-9);
        CHECK(window.wait(now + wait * 0.999, amount) > 0);
        continue;
      }
      window.take(now, amount);
      total += amount;
      taken.emplace_back(now, amount);
      while (taken.front().first + 60 <= now) taken.pop_front();
      std::uint64_t sum = 0;
      for (const auto& each : taken) sum += each.second;
      REQUIRE(sum <= limit);
    }
    CHECK(static_cast<double>(total) > 0.5 * static_cast<double>(limit) * now / 60 * 0.9);
  }
}

TEST_CASE(
    "minute window: a correction frees what was not used; a request above the limit waits "
    "for an empty minute, not for ever") {
  MinuteWindow window(1000);
  window.take(0, 900);
  CHECK(window.wait(1, 500) == Approx(59));
  window.correct(0, 900, 100);
  CHECK(window.wait(1, 500) == 0);
  CHECK(window.wait(1, 5000) == Approx(59));
  CHECK(window.wait(60, 5000) == 0);
}

TEST_CASE("retry: statuses and failures are judged as the error contract says") {
  for (const long status : {408L, 409L, 425L, 500L, 502L, 504L})
    CHECK(judge_status(status) == ResponseVerdict::kRetry);
  for (const long status : {429L, 503L}) CHECK(judge_status(status) == ResponseVerdict::kOverload);
  for (const long status : {400L, 413L, 422L})
    CHECK(judge_status(status) == ResponseVerdict::kReject);
  for (const long status : {301L, 307L, 401L, 403L, 404L})
    CHECK(judge_status(status) == ResponseVerdict::kFatal);
  HttpResponse response;
  response.failure = HttpResponse::Failure::kTls;
  CHECK(judge_response(response) == ResponseVerdict::kFatal);
  response.failure = HttpResponse::Failure::kReset;
  CHECK(judge_response(response) == ResponseVerdict::kRetry);
  CHECK(may_have_cost(response));
  response.failure = HttpResponse::Failure::kConnect;
  CHECK_FALSE(may_have_cost(response));
}

TEST_CASE("retry: Retry-After in seconds and as a date, and used-up rate limits, are understood") {
  HttpResponse response;
  response.status = 429;
  CHECK_FALSE(server_wait(response, 0));
  response.retry_after = "12";
  CHECK(*server_wait(response, 0) == 12);
  response.retry_after = "Fri, 31 Dec 1999 23:59:59 GMT";
  CHECK(*server_wait(response, 946684700) == 99);
  response.date = "Fri, 31 Dec 1999 23:59:29 GMT";  // the server's clock, not ours
  CHECK(*server_wait(response, 5) == 30);
  response.retry_after = "Friday, 31-Dec-99 23:59:59 GMT";
  CHECK(*server_wait(response, 5) == 30);
  response.date = "Sat, 01 Jan 2000 00:00:10 GMT";  // already past
  CHECK(*server_wait(response, 5) == 0);
  response.retry_after = "soon";
  CHECK_FALSE(server_wait(response, 0));
  response.remaining_tokens = "0";
  response.reset_tokens = "6m0s";
  CHECK(*server_wait(response, 0) == 360);
  response.remaining_requests = "0";
  response.reset_requests = "120ms";
  CHECK(*server_wait(response, 0) == 360);
  response.remaining_tokens = "17";  // not used up: says nothing
  CHECK(*server_wait(response, 0) == Approx(0.12));
  CHECK(*parse_duration("1h2m3s") == 3723);
  CHECK_FALSE(parse_duration("1x"));
  CHECK_FALSE(parse_duration("-3"));
}

TEST_CASE("retry: backoff is uniform below a doubling bound") {
  for (std::uint32_t attempt = 0; attempt < 200; ++attempt) {
    const double most = std::min(60.0, 0.5 * std::pow(2.0, attempt));
    CHECK(backoff(attempt, 0) == 0);
    CHECK(backoff(attempt, 0.5) == Approx(most / 2));
    CHECK(backoff(attempt, 0.999) < most);
  }
}

TEST_CASE(
    "endpoint: three failures set it aside, one request at a time wakes it, a burst that was "
    "under way counts once") {
  TeacherLimits limits;
  Endpoint endpoint("http://x", limits);
  CHECK(endpoint.wait(0, 1) == 0);
  CHECK_FALSE(endpoint.fail_at(0));
  CHECK_FALSE(endpoint.fail_at(0));
  CHECK(endpoint.fail_at(0));
  for (int i = 0; i < 60; ++i) CHECK_FALSE(endpoint.fail_at(0.5));
  CHECK(endpoint.wait(0.5, 1) == Approx(0.5));
  CHECK(endpoint.wait(1, 1) == 0);
  const auto ticket = endpoint.limiter().start();
  CHECK(endpoint.wait(1, 1) == Endpoint::kNever);  // the trial must come back first
  endpoint.limiter().end(ticket);
  CHECK(endpoint.fail_at(1));
  CHECK(endpoint.wait(1, 1) == Approx(2));
  endpoint.succeed();
  CHECK_FALSE(endpoint.is_aside());
}

TEST_CASE("budget: with answers inside their bounds no cap is exceeded at any moment") {
  const Random random(11, "budget");
  const TokenPrices prices{.input = 3, .output = 15, .cached_input = 0.3};
  const BudgetCaps caps{.requests = 300, .tokens = 200'000, .usd = 1.0};
  Budget budget(prices, caps);
  std::vector<TokenBound> open;
  std::uint64_t element = 0;
  bool refused = false;
  for (int i = 0; i < 5000; ++i) {
    const TokenBound bound{random.bits(element++) % 500, 1 + random.bits(element++) % 400};
    if (budget.reserve(bound)) {
      open.push_back(bound);
    } else {
      refused = true;
    }
    if (open.size() < 20 && !refused) continue;
    if (open.empty()) continue;
    const TokenBound ended = open.back();
    open.pop_back();
    if (random.uniform64(element++) < 0.2) {
      (void)budget.lose(ended, random.uniform64(element++) < 0.5);
    } else {
      const std::uint64_t prompt = ended.prompt * (random.bits(element++) % 100) / 99;
      const std::uint64_t cached = prompt / 3;
      budget.settle(ended, {prompt, cached, ended.completion, false});
    }
    REQUIRE(budget.spent().requests <= caps.requests);
    REQUIRE(budget.spent().tokens() <= caps.tokens);
    REQUIRE(budget.spent().usd <= caps.usd + 1e-12);
  }
  CHECK(refused);
  CHECK_FALSE(budget.reached().empty());
}

TEST_CASE(
    "budget: money is tokens times prices, cached ones at theirs, and the projection linear") {
  Budget budget({.input = 2, .output = 10, .cached_input = 0.5}, {});
  REQUIRE(budget.reserve({1000, 100}));
  budget.settle({1000, 100}, {.prompt = 800, .cached = 300, .completion = 50});
  CHECK(budget.spent().usd == Approx((500 * 2 + 300 * 0.5 + 50 * 10) * 1e-6));
  CHECK(budget.projection(0, 1000).is_null());
  CHECK(budget.projection(9, 1000).is_null());  // less than a percent says too little
  CHECK(budget.projection(10, 1000)["tokens"] == 85000);
  REQUIRE(budget.reserve({1000, 100}));
  const LostSpending lost = budget.lose({1000, 100}, true);
  CHECK(lost.tokens == 1100);
  CHECK(lost.usd == Approx((1000 * 2 + 100 * 10) * 1e-6));
}

TEST_CASE("silence: wall time counts while somebody is waited for, whether anything fails or not") {
  Silence silence(120, 1800);
  silence.wait(1000, true);
  CHECK_FALSE(silence.is_too_long(1119, false));
  CHECK(silence.is_too_long(1120, false));  // nothing has failed: nobody is there
  CHECK(silence.what() == "nothing came back");
  CHECK_FALSE(silence.is_to_be_told(1059));
  CHECK(silence.is_to_be_told(1060));
  CHECK_FALSE(silence.is_to_be_told(1119));
  silence.miss("boom");
  CHECK(silence.what() == "boom");
  silence.wait(1070, false);  // the last request was given up, the next comes later
  CHECK(silence.seconds(5000) == 70);
  silence.wait(5000, true);
  CHECK_FALSE(silence.is_too_long(5049, true));
  CHECK(silence.is_too_long(5050, true));
  for (const double wait : {300.0, 5.0, 5.0}) silence.allow(wait);  // the longest, once
  CHECK_FALSE(silence.is_too_long(5349, true));
  CHECK(silence.is_too_long(5350, true));
}

TEST_CASE(
    "silence: the longer patience holds after an answer, and for one who is known to be there") {
  Silence silence(120, 1800);
  silence.greet();
  silence.wait(0, true);
  CHECK_FALSE(silence.is_too_long(1799, false));  // a slow first answer
  CHECK(silence.is_too_long(1800, false));
  CHECK(silence.is_too_long(120, true));  // every endpoint fails
  silence.end(500);
  silence.miss("boom");
  CHECK_FALSE(silence.is_too_long(2299, true));
  CHECK(silence.is_too_long(2300, true));
}
