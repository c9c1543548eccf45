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

std::vector<std::string> known_names(const CLI::App& app) {
  std::vector<std::string> names;
  const std::function<void(const CLI::App&)> collect = [&](const CLI::App& from) {
    for (const CLI::Option* option : from.get_options()) {
      for (const auto& name : option->get_lnames()) names.push_back("--" + name);
    }
    for (const CLI::App* sub : from.get_subcommands([](const CLI::App*) { return true; })) {
      if (sub->get_name().empty()) {
        collect(*sub);  // option groups are nameless sub-applications
      } else {
        names.push_back(sub->get_name());
      }
    }
  };
  collect(app);
  return names;
}

std::string HelpFormatter::make_option(const CLI::Option* option, bool positional) const {
  return option->get_description().empty() ? "" : CLI::Formatter::make_option(option, positional);
}

std::string HelpFormatter::make_footer(const CLI::App* app) const {
  std::string out;
  // A verb such as `adapter merge` takes what its command takes: the groups of options there.
  const CLI::App* command = app->get_parent();
  if (command != nullptr && command->get_parent() != nullptr) {
    for (const CLI::App* group : command->get_subcommands([](const CLI::App*) { return true; })) {
      if (!group->get_name().empty()) continue;
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
