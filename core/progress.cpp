#include "core/progress.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/log.h"

namespace lancet {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr auto kTerminalPeriod = std::chrono::milliseconds(100);
constexpr auto kPlainPeriod = std::chrono::seconds(10);
constexpr std::string_view kEraseLine = "\r\x1b[K";

std::atomic<bool> g_enabled{true};

bool is_terminal() noexcept {
  static const bool terminal = ::isatty(STDERR_FILENO) == 1;
  return terminal;
}

bool is_shown() noexcept {
  return g_enabled.load(std::memory_order_relaxed) && log::level() != log::Level::kQuiet;
}

std::size_t terminal_width() noexcept {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

std::string amount(double value, Progress::Unit unit) {
  if (unit == Progress::Unit::kBytes) return human_bytes(static_cast<std::uint64_t>(value));
  if (value < 1e4) return fmt::format("{:.{}f}", value, value < 10 && value != int(value) ? 1 : 0);
  if (value < 1e6) return fmt::format("{:.1f}k", value / 1e3);
  return fmt::format("{:.2f}M", value / 1e6);
}

std::string_view unit_word(Progress::Unit unit) {
  if (unit == Progress::Unit::kTokens) return " tokens";
  return "";
}

std::string clock_text(double seconds) {
  const auto whole = static_cast<std::uint64_t>(std::clamp(seconds, 0.0, 3.6e8));
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

Progress::Progress(std::string label, std::uint64_t total, Unit unit)
    : label_(std::move(label)),
      total_(total),
      unit_(unit),
      start_(std::chrono::steady_clock::now()),
      last_(start_) {}

Progress::~Progress() {
  try {
    finish();
  } catch (...) {  // a lost progress line is no reason to end the process
  }
}

void Progress::enable(bool on) noexcept { g_enabled.store(on, std::memory_order_relaxed); }

void Progress::advance(std::uint64_t amount) {
  done_.fetch_add(amount, std::memory_order_relaxed);
  if (!is_shown()) return;
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || finished_) return;
  const auto now = std::chrono::steady_clock::now();
  const std::chrono::milliseconds period = is_terminal() ? kTerminalPeriod : kPlainPeriod;
  if (now - last_ < period) return;
  last_ = now;
  draw(false);
}

void Progress::set_note(std::string note) {
  const std::lock_guard lock(mutex_);
  note_ = std::move(note);
}

void Progress::finish() {
  const std::lock_guard lock(mutex_);
  if (std::exchange(finished_, true) || !drawn_ || !is_shown()) return;
  draw(true);
}

/// Called with mutex_ held.
void Progress::draw(bool last) {
  const double done = static_cast<double>(done_.load(std::memory_order_relaxed));
  const double total = static_cast<double>(total_);
  const double seconds = Seconds(std::chrono::steady_clock::now() - start_).count();
  const double rate = seconds > 0 ? done / seconds : 0;
  std::string line = fmt::format("{}: {}", label_, amount(done, unit_));
  if (total_ > 0) {
    line += fmt::format(" of {}{} ({:.0f}%)", amount(total, unit_), unit_word(unit_),
                        100 * std::min(1.0, done / total));
  } else {
    line += unit_word(unit_);
  }
  line += fmt::format(", {}/s", amount(rate, unit_));
  if (!note_.empty()) line += ", " + note_;
  if (last) {
    line += fmt::format(", in {}", clock_text(seconds));
  } else if (total_ > 0 && rate > 0) {
    line += fmt::format(", {} left", clock_text((total - std::min(done, total)) / rate));
  }
  if (is_terminal()) {
    line.resize(std::min(line.size(), terminal_width() - 1));
    line = fmt::format("{}{}{}", kEraseLine, line, last ? "\n" : "");
  } else {
    line += '\n';
  }
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
  drawn_ = true;
}

}  // namespace lancet
