#include "cli/common_options.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "core/bytes.h"
#include "core/error.h"
#include "core/text.h"
#include "formats/dtype.h"

namespace lancet {
namespace {

/// What a parser of values says of `text`, as CLI11 wants it: empty where nothing.
template <typename Parse>
std::string complaint(const std::string& text, const Parse& parse) {
  try {
    static_cast<void>(parse(text));
    return {};
  } catch (const Error& error) {
    return error.message();
  }
}

std::string check_dtype(const std::string& name) {
  return name == "auto" ? "" : complaint(name, parse_dtype);
}

/// What --device may say; whether it is there shows when it is used.
std::string check_device(const std::string& name) {
  const std::string_view index =
      std::string_view(name).substr(std::min<std::size_t>(5, name.size()));
  const bool numbered = name.starts_with("cuda:") && !index.empty() &&
                        index.find_first_not_of("0123456789") == index.npos;
  if (numbered || name == "auto" || name == "cpu" || name == "cuda") return {};
  return "expected auto, cpu, cuda or cuda:N, found '" + printable(name, 40) + "'";
}

/// An option without a text, which stands in no help: scripts may give it to every command, and are
/// told where it changes nothing.
void warn_of_use(CLI::Option* option, CommonOptions& common, std::string warning) {
  option->description("")->each([&common, warning = std::move(warning)](const std::string&) {
    common.idle.push_back(warning);
  });
}

void declare_model(CLI::Option_group& group, CommonOptions& common) {
  group
      .add_option("--offload", common.runtime.offload,
                  "disk: leave the matrices of a model that runs in its files and read them as "
                  "they are used, for models larger than memory; none (default)")
      ->check(CLI::IsMember({"none", "disk"}));
  group
      .add_option(
          "--activations", common.runtime.activations,
          "bfloat16: beside --dtype bfloat16, round what is multiplied with the weights as "
          "PyTorch does, up to three times as fast where the processor multiplies such numbers; "
          "float32: exact, with the same bits on every processor; auto (default): exact, on the "
          "CPU by the fastest way")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16"}));
}

}  // namespace

CLI::Validator size_validator() {
  return {[](const std::string& text) { return complaint(text, parse_bytes); }, ""};
}

CLI::Validator whole_number() {
  return {[](const std::string& text) -> std::string {
            std::uint64_t value = 0;
            const char* const end = text.data() + text.size();
            const auto [at, error] = std::from_chars(text.data(), end, value);
            if (error == std::errc() && at == end) return {};
            return "expected a whole number from 0 to 2^64 - 1, found '" + printable(text, 40) +
                   "'";
          },
          ""};
}

// Checked also where a command has no use for them: a slip must not pass for a setting.
void declare_common(CLI::App& app, const Command& command, CommonOptions& common) {
  auto* group = app.add_option_group("Common options");
  group->add_flag("--json", common.json, "Exactly one JSON document on standard output");
  group->add_flag("--plan", common.plan,
                  "Say what would be done, from headers only; write nothing");
  group->add_flag("--force", common.force, "Replace an existing output");
  group->add_option("--seed", common.runtime.seed, "Seed of every random choice (default 0)")
      ->check(whole_number());
  group->add_option("--threads", common.runtime.threads, "Threads, 0 = all processors")
      ->check(CLI::Range(0, 4096));
  group
      ->add_option("--device", common.runtime.device,
                   "auto, cpu, cuda (several where one is too small) or cuda:N (default auto)")
      ->check(CLI::Validator(check_device, ""));
  auto* dtype = group
                    ->add_option("--dtype", common.runtime.dtype,
                                 fmt::format("float32, bfloat16 or float16: {}", command.dtype))
                    ->check(CLI::Validator(check_dtype, ""));
  if (command.dtype.empty())
    warn_of_use(dtype, common,
                "--dtype changes nothing: no weights are computed with or written here");
  if (command.runs_model) declare_model(*group, common);
  auto* memory = group->add_option("--memory", common.memory, std::string(command.memory))
                     ->check(size_validator());
  if (command.memory.empty())
    warn_of_use(memory, common,
                "--memory changes nothing: only merge, graft-tokens and train keep to a bound");
  group->add_flag("--quiet", common.quiet, "No notes and no progress on standard error");
  group->add_flag("--verbose", common.verbose, "More notes on standard error");
  group->add_flag("--no-progress", common.no_progress, "No progress bar");
}

}  // namespace lancet
