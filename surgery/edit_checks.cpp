#include "surgery/edit_checks.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/log.h"
#include "core/outputs.h"
#include "formats/replaceable.h"
#include "surgery/contexts.h"
#include "surgery/covariance.h"
#include "surgery/down.h"
#include "surgery/edit_journal.h"
#include "surgery/edit_session.h"
#include "surgery/files/apply.h"
#include "surgery/files/facts.h"
#include "surgery/subject.h"

namespace lancet {
namespace {

void check_outputs(const EditRequest& request, const Editor& editor) {
  if (!request.plan && !request.out && !request.delta && !request.lora) {
    fail(ErrorKind::kUsage, "edit",
         "expected somewhere to write to, found neither -o, --delta nor --lora",
         "-o OUT writes the edited model; --plan writes nothing");
  }
  std::vector<NamedOutput> outputs;
  const auto add = [&](std::string_view option, const std::optional<fs::path>& path) {
    if (path) outputs.emplace_back(option, *path);
  };
  add("-o", request.out);
  add("--delta", request.delta);
  add("--lora", request.lora);
  add("--report", request.report);
  add("--dump", request.dump);
  check_apart("edit", outputs);
  std::vector<fs::path> read{request.requests};
  if (request.covariance != "auto" && request.covariance != "none")
    read.emplace_back(request.covariance);
  if (const auto own = request.method_options.find("contexts"); own != request.method_options.end())
    read.emplace_back(own->second);
  const Replace replace =
      replaces(request.force || EditJournal::was_writing(request, editor), false);
  if (request.out) check_edited_output("edit", *request.out, request.model, read, replace);
  read.push_back(request.model);
  if (request.lora) check_place("edit", *request.lora, OutputKind::kAdapter, read, replace);
  for (const auto& path : {request.delta, request.report, request.dump})
    if (path) check_place("edit", *path, OutputKind::kFile, read, replace);
}

void check_parameters(const Editor& editor, const Parameters& parameters,
                      const Tokenizer& tokenizer) {
  if (finds_subjects(editor)) check_contexts(parameters);
  if (editor.check != nullptr) editor.check(parameters, tokenizer);
}

void check_request(const EditRequest& request, const Editor& editor) {
  if (request.facts.empty())
    fail(ErrorKind::kUsage, "edit", "expected at least one fact, found none");
  if (editor.max_facts > 0 && static_cast<std::int64_t>(request.facts.size()) > editor.max_facts) {
    fail(ErrorKind::kUsage, "edit",
         fmt::format("{}: expected at most {} facts, found {}", editor.name, editor.max_facts,
                     request.facts.size()));
  }
  if (!editor.batches && request.batch > 1) {
    fail(ErrorKind::kUsage, "edit",
         fmt::format("{}: expected facts one after another, found --batch {}", editor.name,
                     request.batch),
         "leave --batch out, or take memit, emmet or alphaedit");
  }
  if (!editor.stops && request.stop_at > 0) {
    fail(ErrorKind::kUsage, "edit",
         fmt::format("{}: expected no --stop-at, found {}", editor.name, request.stop_at),
         "it is asked after each turn of rome, memit, emmet and alphaedit");
  }
  if (!editor.covariance && request.covariance != "auto" && request.covariance != "none") {
    fail(ErrorKind::kUsage, "edit",
         fmt::format("{}: expected no second moments, found --covariance {}", editor.name,
                     request.covariance),
         "leave --covariance out");
  }
  if (editor.needs_covariance && request.covariance == "none") {
    fail(ErrorKind::kUsage, "edit",
         fmt::format("{}: expected second moments, found --covariance none", editor.name),
         "give --covariance auto or a file");
  }
  for (const Fact& fact : request.facts) check_fact(fact);
}

/// Tokens of a fact's longest row, its target with it. `contexts`: none where the editor looks for
/// no subject.
std::int64_t longest_row(const Tokenizer& tokenizer, const Fact& fact,
                         const std::vector<std::string>& contexts) {
  const std::string prompt = fill_template(fact.prompt, fact.subject);
  if (contexts.empty())
    return std::ssize(tokenizer.encode(prompt).ids) +
           std::ssize(target_tokens(tokenizer, prompt, fact.target));
  std::int64_t most = 0;
  const FactRows rows = fact_rows(tokenizer, fact, contexts);
  for (const PromptRow& row : rows.rewriting)
    most = std::max(most, std::ssize(row.ids) + 1);  // without the target's last token
  return most;
}

/// Those of the rows; none of an editor that looks for no subject.
std::vector<std::string> contexts_of(const Editor& editor, const Parameters& parameters) {
  if (!finds_subjects(editor)) return {};
  return is_sampled(parameters) ? contexts_like_sampled()
                                : read_contexts(parameters.word("contexts"));
}

void check_length(std::int64_t tokens, const DecoderSpec& spec) {
  if (tokens <= spec.max_positions) return;
  fail(ErrorKind::kUsage, "edit",
       fmt::format("key 'prompt': expected at most {} tokens with contexts and target, the length "
                   "of this model, found {}",
                   spec.max_positions, tokens),
       "a fact is best told in a sentence");
}

void leave_out_unusable(EditRequest& request, const std::vector<std::string>& contexts,
                        const Tokenizer& tokenizer, const DecoderSpec& spec) {
  std::vector<Fact> facts;
  std::vector<std::size_t> lines;
  for (std::size_t i = 0; i < request.facts.size(); ++i) {
    try {
      check_length(longest_row(tokenizer, request.facts[i], contexts), spec);
    } catch (const Error& error) {
      if (request.lines.empty() || error.kind() != ErrorKind::kUsage) throw;
      const std::string reason =
          fmt::format("record at line {}: {}", request.lines[i], error.message());
      log::warn(fmt::format("{}: {}", request.requests.string(), reason));
      request.left_out.push_back({{"line", request.lines[i]}, {"key", ""}, {"reason", reason}});
      continue;
    }
    facts.push_back(std::move(request.facts[i]));
    if (!request.lines.empty()) lines.push_back(request.lines[i]);
  }
  if (facts.empty())
    fail(ErrorKind::kInput, "edit",
         request.requests.string() + ": expected at least one usable record, found none");
  request.facts = std::move(facts);
  request.lines = std::move(lines);
}

/// Where a sweep has to choose, some layer may be one of a single MLP.
void check_experts(const Editor& editor, const DecoderSpec& spec,
                   const std::optional<LayerChoice>& choice) {
  if (editor.experts) return;
  const auto is_mixture = [&](std::int64_t layer) {
    return spec.layer[static_cast<std::size_t>(layer)].moe;
  };
  const std::vector<std::int64_t> layers =
      choice ? choice->layers : every_layer("auto", spec.layers).layers;
  const auto found = std::ranges::find_if(layers, is_mixture);
  if (found == layers.end() || (!choice && !std::ranges::all_of(layers, is_mixture))) return;
  fail(
      ErrorKind::kMismatch, "edit",
      fmt::format("{}: expected layers with one MLP, found {} experts in layer {}", editor.name,
                  spec.moe.experts, *found),
      "--method rome, memit, emmet and alphaedit edit the experts that the subjects are routed to");
}

void check_moments(const EditRequest& request, const Editor& editor, const DecoderSpec& spec,
                   const std::optional<LayerChoice>& choice) {
  if (!editor.covariance || request.covariance == "auto" || request.covariance == "none") return;
  if (choice) {
    for (const std::int64_t layer : choice->layers)
      check_covariance(request.covariance, layer, key_width(spec, layer));
  } else {
    const MappedFile there(request.covariance);
  }
}

}  // namespace

bool finds_subjects(const Editor& editor) {
  return std::ranges::any_of(editor.words,
                             [](const WordParameter& each) { return each.name == "contexts"; });
}

PreparedEdit prepare_edit(const EditRequest& wanted) {
  const Editor& first = editor_of(wanted);
  check_request(wanted, first);
  check_outputs(wanted, first);
  Parameters parameters(first.numbers, first.words, wanted.method_options);
  ModelSource source = ModelSource::open(wanted.model);
  Tokenizer tokenizer = Tokenizer::open(source);
  DecoderSpec spec = describe_decoder(source.config());
  check_parameters(first, parameters, tokenizer);
  EditRequest request = wanted;
  leave_out_unusable(request, contexts_of(first, parameters), tokenizer, spec);
  // One fact that is left of several has another editor by default.
  const Editor& editor = editor_of(request);
  if (&editor != &first) {
    check_request(request, editor);
    parameters = Parameters(editor.numbers, editor.words, request.method_options);
    check_parameters(editor, parameters, tokenizer);
  }
  auto layers = known_layers(request.layers, editor, spec);
  check_experts(editor, spec, layers);
  check_moments(request, editor, spec, layers);
  return {std::move(request),   editor,          std::move(parameters), std::move(source),
          std::move(tokenizer), std::move(spec), std::move(layers)};
}

}  // namespace lancet
