#include "cli/stage_command.h"

#include <algorithm>

#include "cli/common_options.h"
#include "cli/help.h"
#include "cli/output.h"
#include "core/text.h"

namespace lancet {
namespace {

const Command& find_command(std::string_view name) {
  for (const Command* command : command_registry()) {
    if (command->name == name) return *command;
  }
  fail(ErrorKind::kInternal, "distill", fmt::format("no command {}", name));
}

/// The option that a key of the block means, without its dashes.
std::string option_of(const Json& setting) {
  std::string name = setting["key"].get<std::string>();
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

}  // namespace

struct StageCommand::Impl {
  std::string source;
  const Command& command;
  CLI::App app;
  CommonOptions common;
  std::function<int()> body;
  Json block = Json::array();
  std::vector<std::string> settings, others;

  Impl(std::string_view name, std::string from)
      : source(std::move(from)), command(find_command(name)), body(command.declare(app, common)) {
    app.name(std::string(name));
    declare_common(app, command, common);
  }

  /// ":LINE:COLUMN" of the setting that a message speaks of: by its option, else by its value, or
  /// the part of it before a colon (a filter), else by its key; "" where it speaks of none.
  [[nodiscard]] std::string place_of(std::string_view message) const {
    const auto holds = [&](const std::string& text) {
      return message.find(text) != std::string_view::npos;
    };
    const auto has_value = [&](const Json& setting) {
      for (const Json& each : setting["values"]) {
        const std::string value = each.get<std::string>();
        if (holds("'" + value + "'") || holds("filter " + value.substr(0, value.find(':')) + ":"))
          return true;
      }
      return false;
    };
    const std::function<bool(const Json&)> kTests[] = {
        [&](const Json& setting) { return holds("--" + option_of(setting)); }, has_value,
        [&](const Json& setting) { return holds(" " + option_of(setting) + " "); }};
    for (const auto& test : kTests) {
      for (const Json& setting : block) {
        if (test(setting))
          return fmt::format(":{}:{}", setting["line"].dump(), setting["column"].dump());
      }
    }
    return {};
  }

  [[noreturn]] void refuse(const Json& setting, const std::string& message,
                           std::string hint = {}) const {
    fail(ErrorKind::kUsage, "job",
         fmt::format("{}:{}:{}: {}: {}", printable(source), setting["line"].dump(),
                     setting["column"].dump(), command.name, message),
         std::move(hint));
  }
};

StageCommand::StageCommand(std::string_view command, std::string source)
    : impl_(std::make_unique<Impl>(command, std::move(source))) {}
StageCommand::~StageCommand() = default;
StageCommand::StageCommand(StageCommand&&) noexcept = default;
StageCommand& StageCommand::operator=(StageCommand&&) noexcept = default;

void StageCommand::set(const Json& settings, const std::vector<std::string_view>& taken) {
  constexpr std::string_view kJobs[] = {"json", "plan", "force", "quiet", "verbose", "no-progress"};
  impl_->block = settings;
  for (const Json& setting : settings) {
    const std::string written = setting["key"].get<std::string>();
    const std::string name = option_of(setting);
    const auto is_name = [&](std::string_view other) { return other == name; };
    if (std::any_of(taken.begin(), taken.end(), is_name) ||
        std::any_of(std::begin(kJobs), std::end(kJobs), is_name))
      impl_->refuse(setting, fmt::format("'{}' is not for the job file: the job gives it",
                                         printable(written)));
    if (name.size() < 2 || impl_->app.get_option_no_throw("--" + name) == nullptr) {
      const std::vector<std::string> known = known_names(impl_->app);
      impl_->refuse(
          setting, fmt::format("unknown key '{}'", printable(written)),
          did_you_mean("--" + name, {known.begin(), known.end()}) +
              fmt::format(" (the keys are the options of lancet {})", impl_->command.name));
    }
    for (const Json& value : setting["values"])
      impl_->settings.push_back("--" + name + "=" + value.get<std::string>());
  }
}

void StageCommand::add(const std::string& argument) { impl_->others.push_back(argument); }

void StageCommand::parse() {
  // CLI11 takes the arguments from the back.
  std::vector<std::string> arguments = impl_->others;
  arguments.insert(arguments.end(), impl_->settings.begin(), impl_->settings.end());
  std::reverse(arguments.begin(), arguments.end());
  try {
    impl_->app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    const std::string_view what = error.what();
    for (const Json& setting : impl_->block) {
      if (what.find("--" + option_of(setting)) != std::string_view::npos)
        impl_->refuse(setting, error.what());
    }
    fail(ErrorKind::kUsage, "job",
         fmt::format("{}: {}: {}", printable(impl_->source), impl_->command.name, error.what()));
  }
}

std::vector<std::string> StageCommand::values(std::string_view option) const {
  const CLI::Option* found = impl_->app.get_option_no_throw("--" + std::string(option));
  if (found == nullptr) return {};
  return found->results();
}

const std::vector<std::string>& StageCommand::settings() const { return impl_->settings; }

Json StageCommand::check() {
  try {
    impl_->common.settings_only = true;
    Json out = run(true, impl_->common, [](const Json&) {});
    impl_->common.settings_only = false;
    return out;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kInterrupted || error.kind() == ErrorKind::kInternal) throw;
    fail(error.kind(), "job",
         fmt::format("{}{}: {}: {}", printable(impl_->source), impl_->place_of(error.message()),
                     impl_->command.name, error.message()),
         error.hint());
  }
}

Json StageCommand::run(bool force, const CommonOptions& outer,
                       const std::function<void(const Json&)>& line) {
  CommonOptions& common = impl_->common;
  common.json = true;
  common.force = force;
  common.quiet = outer.quiet;
  common.verbose = outer.verbose;
  Json last;
  std::string pending;
  const PrintedInto captured([&](std::string_view text) {
    pending += text;
    for (std::size_t end = pending.find('\n'); end != std::string::npos; end = pending.find('\n')) {
      if (!last.is_null()) line(last);
      last = parse_json(std::string_view(pending).substr(0, end), impl_->command.name);
      pending.erase(0, end + 1);
    }
  });
  const int code = impl_->body();
  if (code != 0)
    fail(ErrorKind::kInternal, "distill",
         fmt::format("{}: exit code {}", impl_->command.name, code));
  return last;
}

}  // namespace lancet
