#include "surgery/locate/locate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/text.h"
#include "surgery/locate/trace.h"
#include "surgery/locate/verbs.h"

namespace lancet {
namespace {

struct Verb {
  std::string_view name;
  LocateVerb* run;
};
constexpr Verb kVerbs[] = {{"trace", locate_trace},
                           {"patch", locate_patch},
                           {"lens", locate_lens},
                           {"sweep", locate_sweep},
                           {"neurons", locate_neurons}};

const Verb& find_verb(const std::string& name) {
  std::vector<std::string_view> known;
  for (const Verb& verb : kVerbs) {
    if (verb.name == name) return verb;
    known.push_back(verb.name);
  }
  fail(ErrorKind::kUsage, "locate",
       fmt::format("expected {}, found '{}'", fmt::join(known, ", "), printable(name)),
       did_you_mean(name, known));
}

}  // namespace

Json run_locate(const LocateRequest& request, const RuntimeOptions& runtime) {
  const Verb& verb = find_verb(request.what);
  for (const std::string& kind : request.kinds) (void)trace_kind(kind);
  if (request.facts.empty())
    fail(ErrorKind::kUsage, "locate", "expected at least one fact, found none");
  Stopwatch watch;
  const SurgeryModel model = load_surgery_model(request.model, runtime);
  watch.lap("load");
  Located found = verb.run(model, request, runtime);
  watch.lap(request.what);
  Json result{{"what", request.what}, {"layers", model.decoder.spec().layers}};
  result.update(found.json);
  result["seed"] = runtime.seed;
  result["seconds"] = watch.total();
  result["timings"] = watch.laps();
  if (request.npz) found.arrays.save(*request.npz);
  if (request.report) save_locate_report(*request.report, result);
  return result;
}

}  // namespace lancet
