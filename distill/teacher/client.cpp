#include "distill/teacher/client.h"

#include <algorithm>
#include <ctime>
#include <deque>
#include <unordered_map>

#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/rng.h"
#include "core/text.h"
#include "distill/teacher/endpoint.h"
#include "distill/teacher/http.h"
#include "distill/teacher/parse.h"
#include "distill/teacher/request_queue.h"
#include "distill/teacher/retry.h"
#include "distill/teacher/silence.h"

namespace lancet {
namespace {

/// Refusals (400) before the first answer after which the job itself must be wrong.
constexpr std::uint32_t kRefusedAtFirst = 8;
/// Seconds for answers under way when a signal has come.
constexpr double kLastMoment = 1.2;
/// The longest wait that a server's own word is believed for.
constexpr double kLongestWait = 3600;
/// Seconds for GET /models of all endpoints together, and those in which one may still answer.
constexpr double kGreeting = 15, kLeastGreeting = 0.1;

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

struct TeacherClient::State {
  TeacherOptions options;
  Journal& journal;
  Budget& budget;
  HttpPool http;
  std::vector<Endpoint> endpoints;
  TeacherCounts counts;
  RequestQueue queue;
  std::unordered_map<std::string, OpenPtr> open;        ///< by key: in no list twice
  std::deque<std::pair<Done, TeacherAnswer>> answered;  ///< to be told
  std::exception_ptr fatal;
  Silence silence;
  std::uint32_t refused = 0;
  std::uint64_t draws = 0;
  LostSpending lost;

  State(TeacherOptions all, Journal& its_journal, Budget& its_budget)
      : options(std::move(all)),
        journal(its_journal),
        budget(its_budget),
        http({.ca_file = options.ca_file,
              .connections = static_cast<long>(options.limits.concurrency *
                                               std::max<std::size_t>(1, options.urls.size()))}),
        silence(options.limits.start_timeout, options.limits.give_up_after) {
    for (const std::string& url : options.urls) endpoints.emplace_back(url, options.limits);
  }

  /// The secret never leaves in a text, though a server may quote it.
  [[nodiscard]] std::string scrub(std::string text) const {
    const std::string& secret = options.secret;
    if (secret.empty()) return text;
    for (std::size_t at = 0; (at = text.find(secret, at)) != text.npos; at += 3)
      text.replace(at, secret.size(), "***");
    return text;
  }

  void set_fatal(ErrorKind kind, const std::string& message, const std::string& hint) {
    if (fatal) return;
    fatal = std::make_exception_ptr(Error(kind, "teacher", scrub(message), hint));
  }

  void tell(const OpenPtr& item, const TeacherAnswer& answer) {
    open.erase(item->key);
    if (open.empty()) silence.wait(seconds_now(), false);
    if (answer.ending == Ending::kUnreachable) counts.given_up = answer.message;
    for (Done& each : item->done) answered.emplace_back(std::move(each), answer);
  }

  void send(const OpenPtr& item, std::size_t index, double now) {
    Endpoint& endpoint = endpoints[index];
    const std::uint64_t ticket = endpoint.limiter().start();
    endpoint.take(now, item->estimate);
    ++counts.sent;
    ++item->attempt;
    HttpRequest request{.url = endpoint.url() + std::string(route_path(item->request.route)),
                        .body = wire_body(options.model, item->body, options.stream),
                        .secret = options.secret,
                        .timeout = options.limits.timeout,
                        .idle_timeout = options.limits.idle_timeout,
                        .max_bytes = options.limits.max_response_bytes,
                        .fresh = endpoint.is_closing()};
    http.start(std::move(request), [this, item, index, ticket, now](HttpResponse&& response) {
      finish(item, endpoints[index], ticket, now, std::move(response));
    });
  }

  void finish(const OpenPtr& item, Endpoint& endpoint, std::uint64_t ticket, double sent,
              HttpResponse&& response) {
    const ResponseVerdict verdict = judge_response(response);
    if (response.stale) endpoint.mark_closing();
    if (verdict == ResponseVerdict::kAnswer) return read(item, endpoint, ticket, sent, response);
    const std::string what = describe(response);
    switch (verdict) {
      case ResponseVerdict::kOverload:
        ++counts.overloads;
        endpoint.limiter().overload(ticket);
        if (response.status == 429) silence.end(seconds_now());
        if (response.status == 429 || response.status == 503) {  // no fault of its own
          --item->attempt;
          ++item->put_off;
        }
        return retry(item, endpoint, response, what, response.status == 0);
      case ResponseVerdict::kRetry:
        endpoint.limiter().end(ticket);
        return retry(item, endpoint, response, what, true);
      case ResponseVerdict::kReject:
        endpoint.limiter().end(ticket);
        return reject(item, what);
      default:
        endpoint.limiter().end(ticket);
        give_back(item, response);
        const FatalResponse why = explain_fatal(endpoint.url(), response, what);
        set_fatal(why.kind, why.message, why.hint);
    }
  }

  /// A failed request's reservation, as lost spending.
  void give_back(const OpenPtr& item, const HttpResponse& response) {
    const LostSpending one = budget.lose(item->bound, may_have_cost(response));
    lost.requests += one.requests;
    lost.tokens += one.tokens;
    lost.usd += one.usd;
  }

  [[nodiscard]] std::string describe(const HttpResponse& response) const {
    if (response.failure != HttpResponse::Failure::kNone) return scrub(response.message);
    return scrub(fmt::format("{} {}", response.status, error_message(response.body)));
  }

  void read(const OpenPtr& item, Endpoint& endpoint, std::uint64_t ticket, double sent,
            const HttpResponse& response) {
    Parsed parsed = parse_response(response.content_type, response.body, item->request);
    if (parsed.kind == Parsed::Kind::kServerError) {
      HttpResponse as_error = response;
      as_error.status = parsed.status;
      if (judge_status(parsed.status) == ResponseVerdict::kAnswer) as_error.status = 500;
      return finish(item, endpoint, ticket, sent, std::move(as_error));
    }
    if (parsed.kind == Parsed::Kind::kMalformed) {
      ++counts.malformed;
      endpoint.limiter().end(ticket);
      return retry(item, endpoint, response, scrub(parsed.message), true);
    }
    const double target = options.limits.latency_target;
    if (target > 0 && response.seconds > target) {
      endpoint.limiter().overload(ticket);
    } else {
      endpoint.limiter().succeed(ticket);
    }
    endpoint.succeed();
    silence.end(seconds_now());
    TeacherAnswer& answer = parsed.answer;
    endpoint.tokens().correct(sent, item->estimate, answer.usage.prompt + answer.usage.completion);
    answer.message = scrub(std::move(answer.message));
    budget.settle(item->bound, answer.usage);
    ++counts.answered;
    journal.add(item->key, answer);
    tell(item, answer);
  }

  void reject(const OpenPtr& item, const std::string& what) {
    TeacherAnswer answer{.ending = Ending::kRejected, .message = what};
    silence.end(seconds_now());
    budget.settle(item->bound, {});
    if (++refused >= kRefusedAtFirst && counts.answered == 0)
      return set_fatal(ErrorKind::kUsage,
                       fmt::format("the first {} requests were all refused: {}", refused, what),
                       "the server does not take what the job asks for");
    journal.add(item->key, answer);
    tell(item, answer);
  }

  void retry(const OpenPtr& item, Endpoint& endpoint, const HttpResponse& response,
             const std::string& what, bool its_fault) {
    give_back(item, response);
    ++counts.retried;
    const double now = seconds_now();
    const auto asked = server_wait(response, std::time(nullptr));
    if (asked) {
      endpoint.pause(now + std::min(*asked, kLongestWait));
      silence.allow(std::min(*asked, kLongestWait));
    }
    if (response.status != 429 && !response.stale) {
      silence.miss(what);
      if (endpoint.miss())
        log::warn(fmt::format("{} does not answer: {}; it is asked again", endpoint.url(), what));
    }
    if (its_fault && endpoint.fail_at(now)) {
      ++counts.set_aside;
      log::verbose(fmt::format("{} set aside: {}", endpoint.url(), what));
    }
    log::verbose(fmt::format("attempt {} failed: {}", item->attempt, what));
    if (item->attempt >= options.limits.attempts)
      return tell(item, {.ending = Ending::kUnreachable, .message = what});
    const double unit = Random(options.seed, "jitter").uniform64(draws++);
    // A wait that the server named binds the endpoint; another one may take the request at once.
    queue.push_at(now + backoff(item->attempt + item->put_off, unit), item);
  }

  /// Nobody is waited for while limits of our own hold every request back.
  void listen() {
    silence.wait(seconds_now(), !open.empty() && (http.active() > 0 || silence.has_failed()));
  }

  /// Sends what may be sent; returns seconds until more may be.
  double dispatch() {
    const double now = seconds_now();
    const double wait = queue.release(now, Endpoint::kNever);
    while (!queue.empty()) {
      const OpenPtr& item = queue.front();
      const auto [best, soonest] = soonest_endpoint(endpoints, now, item->estimate);
      if (soonest > 0) return std::min(wait, soonest);
      if (!budget.reserve(item->bound)) {
        if (http.active() == 0 && answered.empty()) stop_at_cap();
        return wait;
      }
      send(queue.pop(), best, now);
    }
    return wait;
  }

  [[noreturn]] void stop_at_cap() {
    journal.add_lost(std::exchange(lost, {}));
    journal.sync();
    fail(ErrorKind::kResource, "budget", "stopped at limits." + budget.reached(),
         "what was answered is kept: raise the limit and run again, or write what is complete with "
         "--finish");
  }

  void check_alive() {
    if (open.empty()) return;
    const double now = seconds_now();
    const bool all = std::ranges::all_of(endpoints, &Endpoint::is_silent);
    const std::string text = fmt::format("no endpoint has answered for {:.0f} s: {}",
                                         silence.seconds(now), silence.what());
    if (silence.is_too_long(now, all))
      fail(ErrorKind::kResource, "teacher", text,
           silence.is_patient(all)
               ? "what was answered is kept: run again when the server is back "
                 "(limits.give_up_after waits longer)"
               : "is the server up, and teacher.url right? limits.start_timeout waits longer");
    if (silence.is_to_be_told(now)) log::warn(text);
  }

  /// What is in flight is paid for: a moment to arrive before a signal ends the run.
  void drain() {
    const double until = seconds_now() + kLastMoment;
    while (http.active() > 0 && seconds_now() < until && !fatal)
      http.pump(std::chrono::milliseconds(50));
    journal.flush();
  }

  void deliver() {
    while (!answered.empty()) {
      const auto [done, answer] = std::move(answered.front());
      answered.pop_front();
      done(answer);
    }
  }
};

TeacherClient::TeacherClient(TeacherOptions options, Journal& journal, Budget& budget)
    : state_(std::make_unique<State>(std::move(options), journal, budget)) {}

TeacherClient::~TeacherClient() {
  try {
    state_->journal.add_lost(state_->budget.abandon());
  } catch (...) {  // the caller learns of a full disk from the journal
  }
}

void TeacherClient::ask(TeacherRequest request, Done done) {
  std::string body = canonical_json(request.body);
  std::string key = request_key(state_->options.model, request, body);
  if (auto known = state_->journal.find(key)) {
    ++state_->counts.from_journal;
    state_->answered.emplace_back(std::move(done), std::move(*known));
    return;
  }
  if (state_->options.offline) {
    state_->options.offline(request, key);
    TeacherAnswer none{.ending = Ending::kUnreachable, .message = "not asked"};
    state_->answered.emplace_back(std::move(done), std::move(none));
    return;
  }
  OpenPtr& item = state_->open[key];
  if (item) {
    item->done.push_back(std::move(done));
    return;
  }
  item = std::make_shared<OpenRequest>();
  item->key = std::move(key);
  item->body = std::move(body);
  item->bound = token_bound(request);
  item->estimate = estimate_prompt_tokens(request) + item->bound.completion;
  item->request = std::move(request);
  item->done.push_back(std::move(done));
  state_->queue.push(item);
}

void TeacherClient::pump(std::chrono::milliseconds wait) {
  if (interrupted()) state_->drain();
  check_interrupted();
  const double until = state_->dispatch();
  state_->listen();
  const bool quiet = state_->answered.empty();
  const auto most = std::chrono::milliseconds(
      static_cast<long>(std::clamp(until * 1000 + 1, 1.0, static_cast<double>(wait.count()))));
  if (!state_->open.empty()) state_->http.pump(quiet ? most : std::chrono::milliseconds(0));
  state_->journal.add_lost(std::exchange(state_->lost, {}));
  state_->journal.flush();
  if (state_->fatal) {
    state_->journal.sync();
    std::rethrow_exception(state_->fatal);
  }
  state_->check_alive();
  state_->deliver();
}

std::size_t TeacherClient::open() const noexcept {
  return state_->open.size() + state_->answered.size();
}

const TeacherCounts& TeacherClient::counts() const noexcept { return state_->counts; }

Json TeacherClient::models() {
  std::string problem = "no endpoint";
  const double begin = seconds_now();
  const double end = begin + std::min(kGreeting, state_->options.limits.start_timeout / 4);
  state_->silence.wait(begin, true);
  for (const std::string& url : state_->options.urls) {
    const double left = end - seconds_now();
    if (left < kLeastGreeting) break;
    std::optional<HttpResponse> got;
    state_->http.start({.url = url + "/models", .secret = state_->options.secret, .timeout = left},
                       [&got](HttpResponse&& response) { got = std::move(response); });
    while (!got) {
      check_interrupted();
      state_->http.pump(std::chrono::milliseconds(50));
    }
    if (judge_response(*got) == ResponseVerdict::kAnswer) {
      state_->silence.greet();
      state_->silence.wait(seconds_now(), false);
      try {
        return parse_json(got->body, url + "/models");
      } catch (const Error& error) {
        problem = error.message();
        continue;
      }
    }
    problem = state_->describe(*got);
  }
  state_->silence.wait(seconds_now(), false);
  fail(ErrorKind::kResource, "teacher", "GET /models: " + problem);
}

}  // namespace lancet
