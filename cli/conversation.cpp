#include "cli/conversation.h"

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include <poll.h>
#include <unistd.h>

#include "cli/chat.h"
#include "cli/output.h"
#include "core/interrupt.h"
#include "core/log.h"

namespace lancet {
namespace {

constexpr int kLookUp = 100;  ///< milliseconds

/// Lines of standard input, waiting for which a signal ends: it may come to any thread, so a reader
/// that sleeps has to look up.
class Lines {
 public:
  [[nodiscard]] std::optional<std::string> next() {
    while (true) {
      if (const std::size_t end = held_.find('\n'); end != std::string::npos) {
        std::string line = held_.substr(0, end);
        held_.erase(0, end + 1);
        return line;
      }
      pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
      const int ready = ::poll(&input, 1, kLookUp);
      check_interrupted();
      if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
      char block[4096];
      const ssize_t count = ::read(STDIN_FILENO, block, sizeof block);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) break;
      held_.append(block, static_cast<std::size_t>(count));
    }
    if (held_.empty()) return std::nullopt;
    return std::exchange(held_, {});
  }

 private:
  std::string held_;
};

/// One answer, as far as it came.
std::string answer(const Prompt& prompt, const fs::path& model, const SamplingOptions& sampling,
                   const RuntimeOptions& runtime) {
  std::string text;
  const TextSink sink = [&text](std::size_t, const std::string& piece) {
    text += piece;
    print_text(piece);
  };
  try {
    const Generation g =
        open_engine(runtime).generate({model, {prompt}, sampling, true}, runtime, sink).front();
    print_text("\n");
    log::info(fmt::format("{} of {} tokens read, {} said, {:.1f} tokens/s, {}", g.read_tokens,
                          g.prompt_tokens, g.tokens, g.tokens_per_second, g.finish_reason));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInterrupted || !forget_interrupt()) throw;
    print_text("\n");
    log::info("stopped");
  }
  return text;
}

}  // namespace

void hold_conversation(const fs::path& model, const SamplingOptions& sampling,
                       const RuntimeOptions& runtime) {
  const auto source = ModelSource::open(model);
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  Json messages = Json::array();
  Lines lines;
  while (true) {
    if (terminal) print_text("> ");
    const auto line = lines.next();
    if (!line) break;
    if (line->find_first_not_of(" \t\r") == std::string::npos) continue;
    messages.push_back({{"role", "user"}, {"content", *line}});
    const Prompt prompt{.id = "",
                        .text = render_chat(source, messages, std::nullopt, true).text,
                        .special = false,
                        .max_tokens = 0,
                        .ids = {}};
    messages.push_back(
        {{"role", "assistant"}, {"content", answer(prompt, model, sampling, runtime)}});
  }
  if (terminal) print_text("\n");
}

}  // namespace lancet
