#include "surgery/edit_journal.h"

#include <ATen/Version.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include "core/hash.h"
#include "core/log.h"
#include "surgery/contexts.h"
#include "surgery/files/facts.h"
#include "version.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "edit";
constexpr std::string_view kWriting = "writing";  ///< stands while outputs are written

/// The first output; an edit has one.
fs::path place_of(const EditRequest& request) {
  return request.out ? *request.out : request.delta ? *request.delta : request.lora.value_or("");
}

std::int64_t turns_of(const EditRequest& request, const Editor& editor) {
  const std::int64_t facts = std::ssize(request.facts);
  const std::int64_t size = !editor.batches ? 1 : request.batch > 0 ? request.batch : facts;
  return (facts + size - 1) / size;
}

}  // namespace

EditJournal::EditJournal(const fs::path& out, const Json& identity, bool restart)
    : journal_(kOperation, out, identity, {.restart = restart}),
      turns_(journal_),
      writing_(fs::exists(journal_.path() / kWriting)) {}

std::unique_ptr<EditJournal> EditJournal::open(const EditRequest& request, const Editor& editor,
                                               const std::function<Json()>& identity) {
  const std::int64_t turns = turns_of(request, editor);
  if (turns < 2) return nullptr;
  std::unique_ptr<EditJournal> out(new EditJournal(place_of(request), identity(), request.restart));
  if (const std::int64_t found = out->turns_.found(); found > 0)
    log::info(fmt::format("{} of {} batches are taken from an earlier run", found, turns));
  return out;
}

bool EditJournal::was_writing(const EditRequest& request, const Editor& editor) {
  if (turns_of(request, editor) < 2) return false;
  const fs::path place = place_of(request);
  std::error_code ignored;
  return !place.empty() && fs::exists(OutputJournal::place(kOperation, place) / kWriting, ignored);
}

void EditJournal::begin_writing() { write_file(journal_.path() / kWriting, ""); }

void EditJournal::finish() { journal_.discard(); }

Json edit_identity(const Editor& editor, const EditInput& input, double stop_at, const Json& config,
                   const Json& covariance, const Json& inputs) {
  Sha256 facts;
  for (const Fact& fact : input.facts) facts.update(fact.id + dump_json(fact_to_json(fact)) + "\n");
  const std::string contexts = input.parameters.json().value("contexts", std::string("auto"));
  return {{"version", LANCET_VERSION},
          {"method", editor.name},
          {"layers", input.layers},
          {"parameters", input.parameters.json()},
          {"contexts", contexts == "auto" ? Json() : Json(read_contexts(contexts))},
          {"seed", input.seed},
          {"batch", input.batch},
          {"stop-at", stop_at},
          {"dtype", input.model.activation_name()},
          {"backend", fmt::format("{} {} {}", input.model.options().device().str(), TORCH_VERSION,
                                  at::get_cpu_capability())},
          {"covariance", covariance},
          {"requests", facts.hex()},
          {"inputs", inputs},
          {"configuration",
           sha256_hex(dump_json(config) + sha256_hex(dump_json(input.tokenizer.json())))}};
}

}  // namespace lancet
