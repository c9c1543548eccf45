// lancet forward: logits (and hidden states) of given ids or text, written as safetensors.

#include <CLI/CLI.hpp>

#include "cli/engine.h"
#include "cli/output.h"
#include "cli/run_plan.h"
#include "cli/token_ids.h"
#include "core/text.h"
#include "formats/replaceable.h"
#include "formats/tokenizer/tokenizer.h"

namespace lancet {
namespace {

struct ForwardOptions {
  std::string model, ids, ids_file, prompt, out;
  bool hidden = false;
};

/// Of the ids that are named: a file's by its header.
std::uint64_t token_count(const ForwardOptions& o, const ModelSource& source) {
  if (!o.ids.empty()) return parse_token_ids("forward", "--ids like 1,2,3", o.ids).size();
  if (!o.prompt.empty()) return Tokenizer::open(source).encode(o.prompt).ids.size();
  const auto file = Checkpoint::open(o.ids_file);
  const TensorInfo* ids = file->find("ids");
  return ids == nullptr ? 0 : ids->elements();  // the run will say so
}

/// Bytes of what is written, all of which is held until then: float32 logits, and hidden states.
std::uint64_t result_bytes(const ForwardOptions& o) {
  const ModelSource source = ModelSource::open(o.model);
  const auto number = [&](const char* key) {
    const auto found = source.config().find(key);
    return found != source.config().end() && found->is_number_unsigned()
               ? found->get<std::uint64_t>()
               : 0;
  };
  const std::uint64_t states =
      o.hidden ? (number("num_hidden_layers") + 1) * number("hidden_size") : 0;
  return token_count(o, source) * (number("vocab_size") + states) * sizeof(float);
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<ForwardOptions>();
  app.add_option("MODEL", options->model, "Any readable model")->required();
  auto* ids = app.add_option("--ids", options->ids, "Token ids, separated by commas");
  auto* file =
      app.add_option("--ids-file", options->ids_file, "safetensors with \"ids\" [batch, tokens]");
  auto* prompt = app.add_option("--prompt", options->prompt, "Text, tokenised as the model does");
  ids->excludes(file)->excludes(prompt);
  file->excludes(prompt);
  app.add_option("--out", options->out, "safetensors: logits float32 [batch, tokens, vocab]")
      ->required();
  app.add_flag("--hidden", options->hidden, "Also hidden.0 ... hidden.L [batch, tokens, d_model]");
  return [options, ids, file, prompt, &common] {
    const int given = (ids->count() > 0) + (file->count() > 0) + (prompt->count() > 0);
    if (given != 1) {
      fail(ErrorKind::kUsage, "forward",
           "expected one of --ids, --ids-file and --prompt, found none",
           "lancet forward MODEL --prompt 'The capital of France is' --out logits.safetensors");
    }
    if (prompt->count() > 0 && options->prompt.empty())
      fail(ErrorKind::kUsage, "forward", "expected --prompt with a text, found an empty one");
    if (fs::path(options->out).extension() == ".gguf")
      fail(ErrorKind::kUsage, "forward",
           fmt::format("expected --out with the name of a safetensors file, found {}",
                       printable(options->out)));
    check_place("forward", options->out, OutputKind::kFile, {options->model, options->ids_file},
                replaces(common.force, common.plan));
    if (common.plan) return print_run_plan(options->model, result_bytes(*options), common);
    ForwardRequest request{.model = options->model,
                           .ids = {},
                           .ids_file = {},
                           .prompt = {},
                           .out = options->out,
                           .hidden = options->hidden,
                           .force = common.force};
    if (ids->count() > 0) {
      for (const auto id : parse_token_ids("forward", "--ids like 1,2,3", options->ids))
        request.ids.push_back(id);
    }
    if (file->count() > 0) request.ids_file = options->ids_file;
    if (prompt->count() > 0) request.prompt = options->prompt;
    const Json result = open_engine(common.runtime).forward(request, common.runtime);
    common.json ? print_json(result)
                : print_text(fmt::format("{}: {} tokens, {:.2f} s\n", options->out,
                                         result["tokens"].dump(), result["seconds"].get<double>()));
    return 0;
  };
}

}  // namespace

extern const Command command_forward{
    .name = "forward",
    .group = "Running a model",
    .summary = "Logits and hidden states of given ids or text, as safetensors",
    .examples =
        "  lancet forward model/ --prompt 'The capital of France is' --out logits.safetensors\n"
        "  lancet forward model/ --ids 1,2,3 --hidden --out states.safetensors",
    .runs_model = true,
    .dtype = kComputation,
    .declare = declare};

}  // namespace lancet
