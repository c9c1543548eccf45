#include "distill/executions.h"

#include <exception>
#include <mutex>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "core/parallel.h"
#include "core/text.h"
#include "distill/verify/runners.h"

namespace lancet {
namespace {

constexpr std::size_t kPending = 4096;  ///< as many as seeds may be under way
constexpr std::size_t kShown = 2000;    ///< bytes of each stream that a repair needs

TeacherAnswer run_one(const Sandbox& sandbox, const TeacherRequest& request) {
  const Language language = parse_language(request.body.at("language").get<std::string>());
  const Outcome outcome =
      sandbox.run(make_program(language, request.body.at("program").get<std::string>()));
  if (outcome.verdict == Verdict::kRefused) fail(ErrorKind::kResource, "sandbox", outcome.reason);
  TeacherAnswer out;
  out.text = verdict_name(outcome.verdict);
  out.finish = outcome.step;
  out.message = utf8_lossy(head_and_tail(outcome.output, kShown) +
                           (outcome.output.empty() || outcome.error.empty() ? "" : "\n") +
                           head_and_tail(outcome.error, kShown));
  if (outcome.verdict == Verdict::kExit)
    out.message += fmt::format("\nexit status {}", outcome.exit_code);
  return out;
}

}  // namespace

TeacherRequest execution_request(std::string_view language, const std::string& program,
                                 std::uint32_t sample) {
  return {Route::kExecute, {{"language", language}, {"program", program}}, sample};
}

struct ExecutionPool::State {
  struct Finished {
    Done done;
    TeacherAnswer answer;
    std::exception_ptr error;
  };
  std::unique_ptr<Sandbox> sandbox;
  std::mutex mutex;
  std::vector<Finished> finished;
  std::size_t active = 0, next = 0;
  std::vector<std::unique_ptr<parallel::Background>> workers;  ///< last: their jobs use the rest
};

ExecutionPool::ExecutionPool() : state_(std::make_unique<State>()) {}

ExecutionPool::~ExecutionPool() = default;

void ExecutionPool::start(const TeacherRequest& request, Done done) {
  if (!state_->sandbox) {
    state_->sandbox = std::make_unique<Sandbox>();
    state_->sandbox->check();
    for (int i = 0; i < parallel::threads(); ++i)
      state_->workers.push_back(std::make_unique<parallel::Background>(kPending));
  }
  ++state_->active;
  parallel::Background& worker = *state_->workers[state_->next++ % state_->workers.size()];
  worker.push([state = state_.get(), request, done = std::move(done)]() mutable {
    State::Finished out{std::move(done), {}, nullptr};
    try {
      out.answer = run_one(*state->sandbox, request);
    } catch (...) {
      out.error = std::current_exception();
    }
    const std::lock_guard lock(state->mutex);
    state->finished.push_back(std::move(out));
  });
}

void ExecutionPool::drain() {
  std::vector<State::Finished> ready;
  {
    const std::lock_guard lock(state_->mutex);
    ready.swap(state_->finished);
  }
  state_->active -= ready.size();
  for (State::Finished& each : ready) {
    if (each.error) std::rethrow_exception(each.error);
    each.done(each.answer);
  }
}

std::size_t ExecutionPool::active() const noexcept { return state_->active; }

}  // namespace lancet
