// lancet completion: a shell script that completes commands, options, their values and files.

#include <CLI/CLI.hpp>

#include "cli/help.h"
#include "cli/output.h"
#include "registry/names.h"

namespace lancet {
namespace {

/// Values of options that are checked where they are used; of a command, or of all ("").
struct Known {
  std::string_view command, option, values;
};
constexpr Known kKnown[] = {
    {"", "--dtype", "float32 bfloat16 float16"},
    {"", "--device", "auto cpu cuda cuda:0"},
    {"merge", "--method", merge_method_names},
    {"adapter combine", "--inner", merge_method_names},
    {"edit", "--method", editor_names},
    {"edit", "--covariance", "auto none"},
    {"locate sweep", "--method", editor_names},
    {"train", "--loss", loss_names},
    {"train", "--init-weights", "kaiming gaussian pissa pissa_niter_16 olora"},
    {"synthesize", "--recipe", data_recipe_names},
    {"curate", "--filter", filter_names},
    {"curate", "--dedup", "exact minhash"},
    {"graft-tokens", "--method", "omp subword mean"},
    {"graft-tokens", "--subword", "mean sum first last"},
    {"graft-tokens", "--prefix-match", "no embedding head yes"},
};

struct Offer {
  std::vector<std::string> long_names, short_names;  ///< without dashes
  std::string help;
  bool takes_value = false;
  std::string values;  ///< with blanks between them; empty where any word, or a file, may stand
};

/// What may follow one command, or lancet itself.
struct Place {
  std::string words;  ///< "locate trace"; "" for lancet itself
  std::vector<std::pair<std::string, std::string>> commands;  ///< name, summary
  std::vector<Offer> options;
  std::string positional;  ///< values of the first word, where they are known
};

/// "TEXT:{a,b}" -> "a b".
std::string checked_values(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const std::size_t open = type.find('{');
  if (open == std::string::npos || type.back() != '}') return {};
  std::string out = type.substr(open + 1, type.size() - open - 2);
  std::ranges::replace(out, ',', ' ');
  return out;
}

Offer offer_of(const CLI::Option& option, const std::string& words) {
  Offer out{option.get_lnames(), option.get_snames(), option.get_description(),
            option.get_items_expected_max() > 0, checked_values(option)};
  for (const Known& known : kKnown) {
    const bool here = known.command.empty() || known.command == words;
    if (here && option.check_name(std::string(known.option))) out.values = known.values;
  }
  return out;
}

/// `app` and all below it, from the tree that parses.
void collect(const CLI::App& app, std::vector<Place>& places) {
  Place place{.words = words_of(app), .commands = {}, .options = {}, .positional = {}};
  for (const CLI::App* sub : known_subcommands(app))
    place.commands.emplace_back(sub->get_name(), sub->get_description());
  bool first = true;
  for (const CLI::Option* option : known_options(app)) {
    if (option->get_description().empty()) continue;  // not in the help either
    if (!option->get_lnames().empty() || !option->get_snames().empty()) {
      place.options.push_back(offer_of(*option, place.words));
    } else if (first) {
      place.positional = checked_values(*option);
      first = false;
    }
  }
  places.push_back(std::move(place));
  for (const CLI::App* sub : known_subcommands(app)) collect(*sub, places);
}

std::string joined(const std::vector<std::string>& words, const std::string& between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : between) + word;
  return out;
}

std::vector<std::string> dashed(const Offer& offer) {
  std::vector<std::string> out;
  for (const std::string& name : offer.long_names) out.push_back("--" + name);
  for (const std::string& name : offer.short_names) out.push_back("-" + name);
  return out;
}

// --- bash, and zsh by bashcompinit ---

/// 'place' of the words so far, 'before' of the word before: what it may hold.
std::string bash_values(const std::vector<Place>& places) {
  std::string out;
  for (const Place& place : places) {
    std::string files;
    for (const Offer& offer : place.options) {
      if (!offer.takes_value) continue;
      for (const std::string& name : dashed(offer)) {
        const std::string pattern = fmt::format("\"{} {}\"", place.words, name);
        if (offer.values.empty()) {
          files += (files.empty() ? "" : "|") + pattern;
        } else {
          out += fmt::format("    {}) words=\"{}\" ;;\n", pattern, offer.values);
        }
      }
    }
    if (!files.empty()) out += fmt::format("    {}) files=1 ;;\n", files);
  }
  return out;
}

std::string bash_places(const std::vector<Place>& places) {
  std::string out;
  for (const Place& place : places) {
    std::vector<std::string> options, commands;
    for (const Offer& offer : place.options) {
      for (const std::string& name : offer.long_names) options.push_back("--" + name);
    }
    for (const auto& [name, summary] : place.commands) commands.push_back(name);
    const std::string words = commands.empty() ? place.positional : joined(commands, " ");
    out += fmt::format("    \"{}\") options=\"{}\" words=\"{}\" ;;\n", place.words,
                       joined(options, " "), words);
  }
  return out;
}

/// Files are read by line, since blanks may stand in them, and left to the shell where a quote or
/// a backslash has been typed, since only it knows what they mean.
constexpr const char* kBash = R"(_lancet_offer() {
  local word found
  found=$(compgen "$@" -- "$current") || return 0
  while IFS= read -r word; do COMPREPLY+=("$word"); done <<<"$found"
}
_lancet() {
  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} place= word i
  local options= words= files=
  COMPREPLY=()
  if [ "$current" = "=" ]; then
    current=
  elif [ "$before" = "=" ]; then
    before=${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((i = 1; i < COMP_CWORD; ++i)); do
    word=${place:+$place }${COMP_WORDS[i]}
    case "$word" in
    @PLACES@) place=$word ;;
    esac
  done
  case "$place $before" in
@VALUES@  esac
  if [ -z "$words$files" ]; then
    case "$place" in
@OFFERS@    esac
    case "$current" in
    -*) _lancet_offer -W "$options"; return ;;
    esac
  fi
  if [ -n "$words" ]; then
    _lancet_offer -W "$words"
    return
  fi
  case "$current" in
  *[\\\"\']*) ;;
  *) compopt -o filenames 2>/dev/null; _lancet_offer -f ;;
  esac
}
complete -o default -F _lancet lancet
)";

std::string bash_script(const std::vector<Place>& places) {
  std::vector<std::string> names;
  for (const Place& place : places) {
    if (!place.words.empty()) names.push_back("\"" + place.words + "\"");
  }
  std::string script = kBash;
  const std::pair<std::string_view, std::string> kParts[] = {{"@PLACES@", joined(names, "|")},
                                                             {"@VALUES@", bash_values(places)},
                                                             {"@OFFERS@", bash_places(places)}};
  for (const auto& [mark, text] : kParts) script.replace(script.find(mark), mark.size(), text);
  return script;
}

/// A file of fpath is read at the first completion, which it then has to answer.
constexpr const char* kZshBegin = "#compdef lancet\nautoload -U +X bashcompinit && bashcompinit\n";
constexpr const char* kZshEnd =
    "if (( $+compstate )); then _bash_complete -o default -F _lancet; fi\n";

// --- fish ---

std::string fish_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string fish_script(const std::vector<Place>& places) {
  std::string out =
      "function __lancet_at\n"
      "  set -l words (commandline -opc)\n"
      "  test (count $words) -gt (count $argv); or return 1\n"
      "  test (count $argv) -eq 0; and return 0\n"
      "  set -l last (math 1 + (count $argv))\n"
      "  test \"$words[2..$last]\" = \"$argv\"\n"
      "end\n"
      "function __lancet_ends\n"
      "  set -l words (commandline -opc)\n"
      "  test (count $words) -eq (math 1 + (count $argv)); and __lancet_at $argv\n"
      "end\n";
  for (const Place& place : places) {
    const std::string ends = fish_quoted("__lancet_ends " + place.words);
    const std::string at =
        fish_quoted((place.words.empty() ? "__lancet_ends " : "__lancet_at ") + place.words);
    for (const auto& [name, summary] : place.commands)
      out += fmt::format("complete -c lancet -n {} -f -a {} -d {}\n", ends, name,
                         fish_quoted(summary));
    if (!place.positional.empty())
      out +=
          fmt::format("complete -c lancet -n {} -f -a {}\n", ends, fish_quoted(place.positional));
    for (const Offer& offer : place.options) {
      out += fmt::format("complete -c lancet -n {}", at);
      for (const std::string& name : offer.short_names) out += " -s " + name;
      for (const std::string& name : offer.long_names) out += " -l " + name;
      if (offer.takes_value)
        out += offer.values.empty() ? " -r" : " -x -a " + fish_quoted(offer.values);
      out += " -d " + fish_quoted(offer.help) + "\n";
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
    std::vector<Place> places;
    collect(*app.get_parent(), places);
    if (*shell == "bash") print_text(bash_script(places));
    if (*shell == "zsh") print_text(kZshBegin + bash_script(places) + kZshEnd);
    if (*shell == "fish") print_text(fish_script(places));
    return 0;
  };
}

}  // namespace

extern const Command command_completion{
    .name = "completion",
    .group = "Help",
    .summary = "A shell script that completes commands, options, their values and files",
    .examples =
        "  source <(lancet completion bash)\n  lancet completion fish > "
        "~/.config/fish/completions/lancet.fish",
    .declare = declare};

}  // namespace lancet
