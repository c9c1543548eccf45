// The command line: declares every registered command, parses, runs one, and turns errors into exit
// codes.

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>
#include <string_view>

#include "cli/common_options.h"
#include "cli/help.h"
#include "cli/output.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/process.h"
#include "core/progress.h"
#include "core/text.h"

namespace lancet {
namespace {

void apply_common(const CommonOptions& common) {
  if (common.quiet) log::set_level(log::Level::kQuiet);
  if (common.verbose) log::set_level(log::Level::kVerbose);
  Progress::enable(!common.quiet && !common.no_progress);
  parallel::set_threads(common.runtime.threads);
  for (const std::string& warning : common.idle) log::warn(warning);
}

/// The words, last first, as CLI11 wants them. It never comes to an end at an empty word behind an
/// option whose value may be left out (2.1): "--chat" "" becomes "--chat=".
std::vector<std::string> line_of(int argc, char** argv) {
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    if (*argv[i] == '\0' && !words.empty() && words.back() == "--chat") {
      words.back() += "=";
    } else {
      words.emplace_back(argv[i]);
    }
  }
  set_arguments(words);
  std::ranges::reverse(words);
  return words;
}

/// The first word that looks like an option and is none of the command's; empty when there is none.
std::string_view unknown_option(const CLI::App& command, int argc, char** argv) {
  const auto names = known_names(command);
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    const std::string_view word(argv[i]), name = word.substr(0, word.find('='));
    if (name.starts_with("--") && std::ranges::find(names, name) == names.end()) return word;
  }
  return {};
}

/// The first word behind the command's name that is no option; empty when there is none.
std::string_view word_behind(const CLI::App& command, int argc, char** argv) {
  bool behind = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word(argv[i]);
    if (behind && !word.starts_with('-')) return word;
    behind = behind || word == command.get_name();
  }
  return {};
}

/// The command without its verb, as `adapter chek M A`.
[[noreturn]] void fail_verb(const CLI::App& command, std::string_view word,
                            const std::string& see) {
  std::string verbs;
  for (const CLI::App* sub : known_subcommands(command))
    verbs += (verbs.empty() ? "" : ", ") + sub->get_name();
  const auto names = known_names(command);
  const auto guess = did_you_mean(word, {names.begin(), names.end()});
  fail(ErrorKind::kUsage, words_of(command),
       fmt::format("expected one of {}, found {}", verbs,
                   word.empty() ? "none" : "'" + printable(word, 60) + "'"),
       guess.empty() ? see : guess + " " + see);
}

/// The nearest of the values that "... not in {a,b}" names; "" where none is near.
std::string nearest_value(const std::string& message) {
  const std::size_t open = message.rfind(" not in {"), end = message.rfind('}');
  const std::size_t colon = message.find(": ");
  if (open == std::string::npos || end == std::string::npos || colon > open) return {};
  const std::string word = message.substr(colon + 2, open - colon - 2);
  std::vector<std::string_view> values;
  const std::string_view list = std::string_view(message).substr(open + 9, end - open - 9);
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t comma = std::min(list.find(',', at), list.size());
    values.push_back(list.substr(at, comma - at));
    at = comma + 1;
  }
  return did_you_mean(word, values);
}

/// The parse error of CLI11 as ours: an unknown option names the nearest known one, and comes
/// before what is missing.
[[noreturn]] void fail_parse(const CLI::App& app, const CLI::ParseError& error, int argc,
                             char** argv) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  const std::string operation = command == &app ? "lancet" : words_of(*command);
  std::string hint = fmt::format("see lancet {}--help", command == &app ? "" : operation + " ");
  std::string message = error.what();
  const auto* missing = dynamic_cast<const CLI::RequiredError*>(&error);
  if (missing != nullptr && command != &app) {
    if (!known_subcommands(*command).empty())
      fail_verb(*command, word_behind(*command, argc, argv), hint);
    if (const auto word = unknown_option(*command, argc, argv); !word.empty())
      message = fmt::format("The following argument was not expected: {}", word);
  }
  if (const auto guess = nearest_value(message); !guess.empty()) hint.insert(0, guess + " ");
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr || message != error.what() ||
      command == &app) {
    const auto names = known_names(*command);
    for (int i = 1; i < argc; ++i) {
      const std::string_view word(argv[i]);
      if (message.find(word) == std::string::npos && command != &app) continue;
      const auto guess = did_you_mean(word, {names.begin(), names.end()});
      if (!guess.empty()) hint.insert(0, guess + " ");
      if (!guess.empty() || command == &app) break;
    }
  }
  fail(ErrorKind::kUsage, operation, message, hint);
}

bool is_asked_for_json(int argc, char** argv) {
  return std::any_of(argv + 1, argv + argc,
                     [](const char* word) { return std::strcmp(word, "--json") == 0; });
}

/// Whether a command's options are needed: declaring those of all commands would take longer than
/// most commands do. Completion lists them all.
bool is_meant(std::string_view command, int argc, char** argv) {
  return std::any_of(argv + 1, argv + argc, [command](const char* word) {
    return word == command || std::string_view(word) == "completion";
  });
}

/// Tells in `meant` which command runs, once that is known.
int run(int argc, char** argv, std::string& meant) {
  CLI::App app{
      "lancet: find and rewrite facts in language models, merge models, distil teachers into "
      "students"};
  app.name("lancet");
  app.require_subcommand(0, 1);
  app.set_version_flag("--version", [] { return version_text(); });
  app.formatter(std::make_shared<HelpFormatter>());
  app.option_defaults()->always_capture_default(false);

  CommonOptions common;
  std::vector<std::pair<CLI::App*, std::function<int()>>> commands;
  for (const Command* command : command_registry()) {
    CLI::App* sub = app.add_subcommand(std::string(command->name), std::string(command->summary));
    sub->group(std::string(command->group));
    sub->footer("Examples:\n" + std::string(command->examples));
    if (!is_meant(command->name, argc, argv)) continue;
    commands.emplace_back(sub, command->declare(*sub, common));
    declare_common(*sub, *command, common);
  }
  try {
    app.parse(line_of(argc, argv));
  } catch (const CLI::CallForVersion&) {
    is_asked_for_json(argc, argv) ? print_json(version_json()) : print_text(version_text() + "\n");
    return 0;
  } catch (const CLI::Success&) {  // --help, of the command that it stands behind
    print_text(app.help());
    return 0;
  } catch (const CLI::ParseError& error) {
    fail_parse(app, error, argc, argv);
  }
  apply_common(common);
  for (const auto& [sub, body] : commands) {
    if (!sub->parsed()) continue;
    const auto verbs = sub->get_subcommands();
    meant = words_of(verbs.empty() ? *sub : *verbs.front());
    return body();
  }
  print_text(app.help());
  return 0;
}

/// Runs and reports: the one place where exceptions become exit codes.
int guarded_run(int argc, char** argv) {
  const bool json = is_asked_for_json(argc, argv);
  std::string meant;
  install_shrunk_file_handler(json);
  const auto report = [json](const Error& error) {
    print_error(error);
    try {
      if (json) print_json({{"error", error_json(error)}});
    } catch (const Error&) {  // standard output is full or closed: the error itself, or it said so
    }
    return error.exit_code();
  };
  try {
    return run(argc, argv, meant);
  } catch (const Reported& done) {
    return done.exit_code;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kUsage && error.hint().empty() && !meant.empty())
      return report(Error(error.kind(), error.operation(), error.message(),
                          fmt::format("see lancet {} --help", meant)));
    return report(error);
  } catch (const std::bad_alloc&) {
    return report(Error(ErrorKind::kResource, "memory",
                        "expected more memory than this machine gives",
                        "close other programs or lower --memory"));
  } catch (const fs::filesystem_error& error) {
    return report(Error(ErrorKind::kResource, "files", error.what(),
                        "a directory went away or may not be read, or a name is too long"));
  } catch (const std::exception& error) {
    return report(Error(ErrorKind::kInternal, "lancet", error.what(),
                        "this is a defect of lancet: please report it"));
  }
}

}  // namespace
}  // namespace lancet

int main(int argc, char** argv) {
  lancet::install_interrupt_handlers();
  return lancet::guarded_run(argc, argv);
}
