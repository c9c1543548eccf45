#include "cli/output.h"

#include <cerrno>
#include <csignal>
#include <cstdio>

#include "core/text.h"

namespace lancet {
namespace {

std::function<void(std::string_view)> printed_into;  ///< of the PrintedInto that lives

}  // namespace

PrintedInto::PrintedInto(std::function<void(std::string_view)> sink) {
  printed_into = std::move(sink);
}
PrintedInto::~PrintedInto() { printed_into = nullptr; }

void print_text(std::string_view text) {
  if (printed_into) return printed_into(text);
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    if (errno == EPIPE) {  // `lancet ... | head`: end as other tools do
      std::signal(SIGPIPE, SIG_DFL);
      std::raise(SIGPIPE);
    }
    fail(ErrorKind::kResource, "output", "could not write to standard output");
  }
}

void print_json(const Json& document) { print_text(dump_json(document) + "\n"); }

Json error_json(const Error& error) {
  return {{"kind", error_kind_name(error.kind())},
          {"operation", error.operation()},
          {"message", error.message()},
          {"hint", error.hint()}};
}

void print_error(const Error& error) {
  std::string text = fmt::format("error: {}\n", error.what());
  if (!error.hint().empty()) text += fmt::format("hint: {}\n", error.hint());
  // Where standard error is closed or full, the exit code is what is left to tell it.
  (void)std::fwrite(text.data(), 1, text.size(), stderr);
}

Json command_json(std::string_view name, const CommonOptions& common) {
  return {{"command", name}, {"seed", common.runtime.seed}};
}

}  // namespace lancet
