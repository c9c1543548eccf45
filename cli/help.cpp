#include "cli/help.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "version.h"

namespace lancet {

namespace {

std::vector<std::string> cpu_features() {
  std::vector<std::string> out;
  const auto add = [&](bool has, const char* name) {
    if (has) out.emplace_back(name);
  };
  add(__builtin_cpu_supports("avx2") != 0, "avx2");
  add(__builtin_cpu_supports("fma") != 0, "fma");
  add(__builtin_cpu_supports("avx512f") != 0, "avx512f");
  add(__builtin_cpu_supports("avx512vnni") != 0, "avx512vnni");
  add(__builtin_cpu_supports("avx512bf16") != 0, "avx512bf16");
  return out;
}

constexpr const char* kCuda = "13";
bool is_verb(const CLI::App& app) {
  return app.get_parent() != nullptr && app.get_parent()->get_parent() != nullptr;
}

/// Groups of options, which are nameless subcommands: of a verb those of its command.
std::vector<const CLI::App*> groups_of(const CLI::App& app) {
  const CLI::App& owner = is_verb(app) ? *app.get_parent() : app;
  return owner.get_subcommands([](const CLI::App* sub) { return sub->get_name().empty(); });
}

}  // namespace

std::string version_text() {
  const std::vector<std::string> cpu = cpu_features();
  return fmt::format(
      "lancet {} (commit {})\nLibTorch {} (loaded when a command needs it)\nCUDA {} (used where "
      "LibTorch and a device are found)\nCPU {}",
      LANCET_VERSION, LANCET_COMMIT, LANCET_LIBTORCH_VERSION, kCuda,
      cpu.empty() ? "x86-64" : fmt::format("{}", fmt::join(cpu, " ")));
}

Json version_json() {
  return {{"version", LANCET_VERSION},
          {"commit", LANCET_COMMIT},
          {"libtorch", LANCET_LIBTORCH_VERSION},
          {"cuda", kCuda},
          {"cpu", cpu_features()}};
}

std::vector<const CLI::App*> known_subcommands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* sub) { return !sub->get_name().empty(); });
}

std::vector<const CLI::Option*> known_options(const CLI::App& app) {
  std::vector<const CLI::Option*> out = app.get_options();
  for (const CLI::App* group : groups_of(app)) {
    for (const CLI::Option* option : group->get_options()) {
      if (option != group->get_help_ptr()) out.push_back(option);
    }
  }
  return out;
}

std::vector<std::string> known_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : known_options(app)) {
    for (const auto& name : option->get_lnames()) names.push_back("--" + name);
  }
  for (const CLI::App* sub : known_subcommands(app)) names.push_back(sub->get_name());
  return names;
}

std::string HelpFormatter::make_option(const CLI::Option* option, bool positional) const {
  return option->get_description().empty() ? "" : CLI::Formatter::make_option(option, positional);
}

std::string words_of(const CLI::App& app) {
  if (app.get_parent() == nullptr) return {};
  const std::string above = words_of(*app.get_parent());
  return above.empty() ? app.get_name() : above + " " + app.get_name();
}

std::string HelpFormatter::make_footer(const CLI::App* app) const {
  std::string out;
  // A verb such as `adapter merge` takes what its command takes: the groups of options there.
  if (is_verb(*app)) {
    for (const CLI::App* group : groups_of(*app)) {
      out += "\n" + group->get_group() + ":\n";
      for (const CLI::Option* option : group->get_options()) {
        if (option != group->get_help_ptr()) out += make_option(option, false);
      }
    }
  }
  const std::string footer = app->get_footer();
  return footer.empty() ? out : out + "\n" + footer + "\n";
}

}  // namespace lancet
