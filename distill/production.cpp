#include "distill/production.h"

#include <chrono>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "core/interrupt.h"

namespace lancet {
namespace {

/// Items that may wait for answers at a time: bounds memory, far above any sensible concurrency.
constexpr std::size_t kActive = 4096;
/// Items that may be finished before the oldest unfinished one.
constexpr std::size_t kAhead = 65536;

}  // namespace

Production::Production(const TurnContext& context, TeacherClient& client, Journal& journal,
                       const Budget& budget, Sink sink)
    : context_(context),
      client_(client),
      journal_(journal),
      budget_(budget),
      sink_(std::move(sink)) {}

void Production::run(std::vector<SeedItem> items) {
  Progress progress("synthesize", items.size(), Progress::Unit::kItems);
  head_ = 0;
  std::size_t next = 0;
  while (head_ < items.size()) {
    while (next < items.size() && active_.size() < kActive && next - head_ < kAhead) {
      active_[next] = std::make_unique<Turn>(context_, items[next]);
      step(next++);
    }
    write_ready(progress, items.size());
    wait();
    write_ready(progress, items.size());
  }
  counts_.seeds += items.size();
}

void Production::wait() {
  const auto known = std::exchange(known_, {});
  for (const auto& tell : known) tell();
  executions_.drain();
  const bool busy = executions_.active() > 0 || !known_.empty();
  const auto most = std::chrono::milliseconds(busy ? 5 : 50);
  if (client_.open() > 0) {
    client_.pump(most);
  } else if (executions_.active() > 0) {
    check_interrupted();
    std::this_thread::sleep_for(most);
  }
  journal_.flush();
}

void Production::step(std::size_t number) {
  Turn& turn = *active_.at(number);
  if (turn.run() == Turn::State::kDone) return finish(number);
  std::size_t place = turn.asked();
  for (TeacherRequest& request : turn.take_questions()) {
    if (request.route == Route::kExecute) {
      execute(request, number, place++);
      continue;
    }
    client_.ask(std::move(request), [this, number, at = place++](const TeacherAnswer& answer) {
      take(number, at, answer);
    });
  }
}

void Production::execute(const TeacherRequest& request, std::size_t number, std::size_t place) {
  const std::string key = request_key("", request);
  if (auto found = journal_.find(key)) {
    known_.emplace_back(
        [this, number, place, answer = std::move(*found)] { take(number, place, answer); });
    return;
  }
  executions_.start(request, [this, key, number, place](const TeacherAnswer& answer) {
    journal_.add_result(key, answer);
    take(number, place, answer);
  });
}

void Production::take(std::size_t number, std::size_t place, const TeacherAnswer& answer) {
  Turn& turn = *active_.at(number);
  turn.answer(place, answer);
  if (turn.has_all()) step(number);
}

void Production::finish(std::size_t number) {
  const auto found = active_.find(number);
  finished_[number] = {found->second->take_rows(), found->second->dropped()};
  active_.erase(found);
}

void Production::write_ready(Progress& progress, std::size_t total) {
  while (true) {
    const auto first = finished_.begin();
    if (first == finished_.end() || first->first != head_) return;
    emit(std::move(first->second));
    finished_.erase(first);
    ++head_;
    const Spending& spent = budget_.spent();
    std::string note = fmt::format("{} tokens", spent.tokens());
    if (spent.usd > 0) note += fmt::format(", ${:.2f}", spent.usd);
    const Json all = budget_.projection(head_, total);
    if (spent.usd > 0 && !all.is_null())
      note += fmt::format(" of about ${:.2f}", all["usd"].get<double>());
    progress.set_note(std::move(note));
    progress.advance(1);
  }
}

void Production::emit(Finished&& done) {
  if (!done.dropped.empty()) {
    ++counts_.dropped[done.dropped];
    if (done.dropped == ending_name(Ending::kUnreachable)) ++counts_.unreachable;
    return;
  }
  const bool looks_back = context_.recipe.admit != nullptr || context_.recipe.next_round != nullptr;
  for (Json& row : done.rows) {
    if (context_.recipe.admit != nullptr && !context_.recipe.admit(row, rows_, context_.options)) {
      ++counts_.refused;
      continue;
    }
    ++counts_.rows;
    sink_(row);
    if (looks_back) rows_.push_back(std::move(row));
  }
}

}  // namespace lancet
