// lancet completion: a shell script that completes commands, options and files.

#include <CLI/CLI.hpp>

#include "cli/help.h"
#include "cli/output.h"

namespace lancet {
namespace {

/// "name: --a --b" of every subcommand of the whole application.
std::vector<std::pair<std::string, std::string>> words(const CLI::App& root) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const CLI::App* sub : root.get_subcommands([](const CLI::App*) { return true; })) {
    if (sub->get_name().empty()) continue;
    std::string options;
    for (const auto& name : known_names(*sub)) options += (options.empty() ? "" : " ") + name;
    out.emplace_back(sub->get_name(), options);
  }
  return out;
}

std::string bash_script(const CLI::App& root) {
  std::string commands, cases;
  for (const auto& [name, options] : words(root)) {
    commands += (commands.empty() ? "" : " ") + name;
    cases += fmt::format("    {}) words=\"{}\" ;;\n", name, options);
  }
  return fmt::format(
      "_lancet() {{\n  local words current=${{COMP_WORDS[COMP_CWORD]}}\n  if [ \"$COMP_CWORD\" -eq "
      "1 ]; then\n"
      "    COMPREPLY=($(compgen -W \"{} --help --version\" -- \"$current\"))\n    return\n  fi\n"
      "  case ${{COMP_WORDS[1]}} in\n{}    *) words=\"\" ;;\n  esac\n"
      "  if [[ $current == -* ]]; then\n    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
      "  else\n    COMPREPLY=($(compgen -f -- \"$current\"))\n  fi\n}}\ncomplete -o filenames -F "
      "_lancet lancet\n",
      commands, cases);
}

std::string zsh_script(const CLI::App& root) {
  return "#compdef lancet\nautoload -U +X bashcompinit && bashcompinit\n" + bash_script(root);
}

std::string fish_script(const CLI::App& root) {
  std::string out;
  for (const auto& [name, options] : words(root)) {
    const std::string summary = root.get_subcommand(name)->get_description();
    std::string quoted;
    for (const char c : summary) quoted += c == '\'' ? std::string("\\'") : std::string(1, c);
    out += fmt::format("complete -c lancet -n __fish_use_subcommand -a {} -d '{}'\n", name, quoted);
    std::size_t at = 0;
    while (at < options.size()) {
      const std::size_t end = std::min(options.find(' ', at), options.size());
      out += fmt::format("complete -c lancet -n '__fish_seen_subcommand_from {}' -l {}\n", name,
                         options.substr(at + 2, end - at - 2));
      at = end + 1;
    }
  }
  return out;
}

std::function<int()> declare(CLI::App& app, const CommonOptions&) {
  auto shell = std::make_shared<std::string>();
  app.add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  return [shell, &app] {
    const CLI::App& root = *app.get_parent();
    print_text(*shell == "bash"  ? bash_script(root)
               : *shell == "zsh" ? zsh_script(root)
                                 : fish_script(root));
    return 0;
  };
}

}  // namespace

extern const Command command_completion{
    .name = "completion",
    .group = "Help",
    .summary = "A shell script that completes commands, options and files",
    .examples =
        "  source <(lancet completion bash)\n  lancet completion fish > "
        "~/.config/fish/completions/lancet.fish",
    .declare = declare};

}  // namespace lancet
