#include "core/log.h"

#include <atomic>
#include <memory>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

namespace lancet::log {
namespace {

std::atomic<Level> g_level{Level::kNormal};

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    // On a terminal a progress line may stand there: go back and erase it.
    sink->set_pattern(::isatty(STDERR_FILENO) == 1 ? "\r\x1b[K%v" : "%v");
    auto made = std::make_shared<spdlog::logger>("lancet", std::move(sink));
    made->set_level(spdlog::level::trace);
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *instance;
}

void write(std::string_view prefix, std::string_view message) {
  logger().info("{}{}", prefix, message);
}

}  // namespace

void set_level(Level level) { g_level.store(level, std::memory_order_relaxed); }
Level level() noexcept { return g_level.load(std::memory_order_relaxed); }

void info(std::string_view message) {
  if (level() != Level::kQuiet) write("", message);
}
void verbose(std::string_view message) {
  if (level() == Level::kVerbose) write("", message);
}
void warn(std::string_view message) {
  if (level() != Level::kQuiet) write("warning: ", message);
}

}  // namespace lancet::log
