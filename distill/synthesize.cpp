#include "distill/synthesize.h"

#include <algorithm>
#include <cstdlib>

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/outputs.h"
#include "core/seconds.h"
#include "core/text.h"
#include "distill/batch.h"
#include "distill/job.h"
#include "distill/licence.h"
#include "distill/production.h"
#include "distill/synthesis_seeds.h"
#include "distill/teacher/capabilities.h"
#include "formats/model_writer.h"
#include "formats/replaceable.h"

namespace lancet {
namespace {

fs::path beside(const fs::path& out, const std::string& suffix) { return out.string() + suffix; }

/// The key, from the environment only.
std::string secret_of(const TeacherBlock& teacher) {
  if (teacher.api_key_env.empty()) return {};
  const char* value = std::getenv(teacher.api_key_env.c_str());
  if (value == nullptr || *value == 0)
    fail(ErrorKind::kUsage, "teacher",
         fmt::format("the environment variable {} is not set", teacher.api_key_env),
         fmt::format("export {0}=... first; teacher.api_key_env (--api-key-env) names another "
                     "variable, none where the server asks for no key",
                     teacher.api_key_env));
  std::string out(value);
  if (out.find_first_of("\r\n") != std::string::npos)
    fail(ErrorKind::kUsage, "teacher",
         fmt::format("the key in {} holds a line break", teacher.api_key_env));
  return out;
}

TeacherOptions client_options(const Job& job, std::string secret) {
  return {.urls = job.teacher.urls,
          .model = job.teacher.model,
          .secret = std::move(secret),
          .ca_file = job.teacher.ca_file,
          .stream = job.teacher.stream,
          .limits = job.teacher.limits,
          .seed = job.seed};
}

/// What every body carries.
Json body_of(const TeacherBlock& teacher) {
  Json out = teacher.sampling;
  for (const auto& [name, value] : teacher.extra.items()) out[name] = value;
  if (teacher.logprobs) {
    out["logprobs"] = true;
    out["top_logprobs"] = teacher.top_logprobs;
  }
  return out;
}

/// What the teacher's licence asks, by its name or as the job declares it.
LicenceDuties duties_of(const TeacherBlock& teacher, const SynthesizeRequest& request) {
  LicenceDuties out;
  out.add_teacher(teacher.model);
  if (!teacher.licence.empty()) out.declare(teacher.licence);
  out.check(request.model_name, request.accept_terms_risk);
  for (const std::string& each : out.unknown_teachers())
    log::warn(
        fmt::format("the licence of the teacher '{}' is not known: declare it with "
                    "teacher.licence",
                    printable(each)));
  return out;
}

/// One run of the command.
class Synthesis {
 public:
  Synthesis(const SynthesizeRequest& request, Job job)
      : request_(request),
        job_(std::move(job)),
        recipe_(*job_.data.recipe),
        out_(request.output.empty() ? dataset_path(job_) : request.output),
        duties_(duties_of(job_.teacher, request)),
        prompts_(std::string(recipe_.name), job_.data.prompts),
        context_{
            recipe_,  job_.data.options, prompts_, body_of(job_.teacher), job_.teacher.send_seed,
            job_.seed},
        seeds_(job_, request.part, request.parts) {
    for (const std::string_view name : recipe_.prompts) (void)prompts_.text(std::string(name));
  }

  [[nodiscard]] Json plan() {
    check_files();
    std::uint64_t prompt = 0, completion = 0;
    const std::vector<SeedItem> items = seeds_.round(0, {});
    const std::size_t sampled = std::min<std::size_t>(items.size(), 1000);
    for (std::size_t i = 0; i < sampled; ++i) {
      Turn turn(context_, items[i]);
      (void)turn.run();
      for (const TeacherRequest& each : turn.take_questions()) {
        prompt = std::max(prompt, estimate_prompt_tokens(each));
        completion = std::max(completion, token_bound(each).completion);
      }
    }
    const std::uint64_t requests = recipe_.requests(job_.data.options) * items.size();
    const TokenBound most{prompt * requests, completion * requests};
    const TokenPrices& prices = job_.teacher.prices;
    const bool priced = prices.input > 0 || prices.output > 0;
    const Budget budget(prices, {});
    return {{"recipe", recipe_.name},
            {"model", job_.teacher.model},
            {"output", out_.string()},
            {"seeds", seeds_.count()},
            {"duplicates", seeds_.duplicates()},
            {"items", items.size()},
            {"estimate",
             {{"requests", requests},
              {"prompt_tokens", most.prompt},
              {"completion_tokens", most.completion},
              {"usd", priced ? Json(budget.cost(most)) : Json()}}},
            {"rounds", recipe_.next_round != nullptr},
            {"licence", duties_.json()},
            {"job", job_json(job_)}};
  }

  [[nodiscard]] Json run();

 private:
  const SynthesizeRequest& request_;
  Job job_;
  const DataRecipe& recipe_;
  fs::path out_;
  LicenceDuties duties_;
  PromptLibrary prompts_;
  TurnContext context_;
  SynthesisSeeds seeds_;

  void check_files() const;
  void note_models(TeacherClient& client) const;
  [[nodiscard]] Json abilities_of(TeacherClient& client, const Journal& journal, bool live);
  void produce(Production& production) const;
  [[nodiscard]] bool is_complete(const Production& production, const TeacherCounts& wire,
                                 BatchFolder* folder, Json& out) const;
  [[nodiscard]] Json summary(const Production& production, const Budget& budget,
                             const TeacherCounts& wire, double seconds) const;
  void write_lancet_json(const Json& summary, const Json& capabilities) const;
};

/// Neither seeds nor the job are written over, and batch files alone lie in their folder.
void Synthesis::check_files() const {
  if (out_.empty())
    fail(ErrorKind::kUsage, "synthesize", "expected an output, found none",
         "give -o data.jsonl, or `output:` in the job");
  std::vector<fs::path> read = job_.data.seeds;
  if (!request_.job.empty()) read.push_back(request_.job);
  std::vector<fs::path> written{out_, beside(out_, ".lancet.json"), seeds_.own_journal(out_)};
  if (!duties_.notice().empty()) written.push_back(beside(out_, ".NOTICE"));
  check_apart("synthesize", read, written);
  read.push_back(job_.data.prompts);
  // A part, or a run whose answers are not all there, writes its journal alone.
  const Replace replace = replaces(request_.force, request_.plan || !seeds_.whole());
  check_place("synthesize", out_, OutputKind::kFile, read, replace);
  if (!request_.batch_files.empty()) check_folder("synthesize", request_.batch_files);
  std::error_code ignored;
  if (request_.batch_files.empty() ||
      fs::weakly_canonical(fs::absolute(out_).parent_path(), ignored) !=
          fs::weakly_canonical(fs::absolute(request_.batch_files), ignored))
    return;
  fail(ErrorKind::kUsage, "synthesize",
       fmt::format("'{}' would lie among the batch files, and be read as one of answers",
                   printable(out_.string())),
       "give the dataset a place outside of --batch-files");
}

void Synthesis::note_models(TeacherClient& client) const {
  try {
    std::vector<std::string> names;
    const Json models = client.models();
    if (const auto data = models.find("data"); data != models.end() && data->is_array()) {
      for (const Json& each : *data) names.push_back(json_string(each, "id", "GET /models", ""));
    }
    const bool known = std::find(names.begin(), names.end(), job_.teacher.model) != names.end();
    if (!names.empty() && !known)
      log::verbose(fmt::format("the server names its models {}, the job says {}",
                               fmt::join(names, ", "), job_.teacher.model));
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kInterrupted) throw;
    log::verbose(error.message());  // some servers do not have it; requests will tell
  }
}

Json Synthesis::summary(const Production& production, const Budget& budget,
                        const TeacherCounts& wire, double seconds) const {
  const ProductionCounts& counts = production.counts();
  return {{"output", seeds_.whole() ? Json(out_.string()) : Json()},
          {"journal", seeds_.own_journal(out_).string()},
          {"recipe", recipe_.name},
          {"seeds", counts.seeds},
          {"duplicates", seeds_.duplicates()},
          {"rows", counts.rows},
          {"refused", counts.refused},
          {"dropped", counts.dropped},
          {"spent", budget.json()},
          {"wire",
           {{"sent", wire.sent},
            {"answered", wire.answered},
            {"from_journal", wire.from_journal},
            {"retried", wire.retried},
            {"overloads", wire.overloads},
            {"malformed", wire.malformed},
            {"set_aside", wire.set_aside}}},
          {"seconds", seconds}};
}

void Synthesis::write_lancet_json(const Json& summary, const Json& capabilities) const {
  Json fields{{"command", "synthesize"}, {"job", job_json(job_)}, {"seed", job_.seed}};
  Json inputs = Json::array();
  for (const fs::path& path : job_.data.seeds) {
    if (fs::is_regular_file(path)) inputs.push_back(input_file(path));
  }
  fields["inputs"] = inputs;
  Json prompts = Json::object();
  for (const std::string_view name : recipe_.prompts)
    prompts[name] = sha256_hex(prompts_.text(std::string(name)));
  fields["prompts"] = prompts;
  fields["capabilities"] = capabilities;
  fields["licence"] = duties_.json();
  fields["card"] = duties_.card();
  fields["result"] = summary;
  std::vector<WrittenFile> files{{out_, fs::file_size(out_), sha256_file(out_)}};
  if (const std::string notice = duties_.notice(); !notice.empty()) {
    const fs::path path = beside(out_, ".NOTICE");
    write_file(path, notice);
    files.push_back({path, notice.size(), sha256_hex(std::string_view(notice))});
  }
  write_manifest(beside(out_, ".lancet.json"), fields, files);
}

Json Synthesis::abilities_of(TeacherClient& client, const Journal& journal, bool live) {
  if (live) note_models(client);
  const Capabilities found =
      live ? probe_capabilities(client, context_.body, recipe_.completions)
           : recall_capabilities(journal, job_.teacher.model, context_.body, recipe_.completions);
  for (const auto& [name, value] : found.fields.items()) context_.body[name] = value;
  context_.completions = found.completions;
  return {{"top_logprobs", found.top},
          {"token_ids", found.token_ids},
          {"packed_logprobs", found.packed}};
}

void Synthesis::produce(Production& production) const {
  for (std::uint32_t round = 0;; ++round) {
    std::vector<SeedItem> items = seeds_.round(round, production.rows());
    if (items.empty()) return;
    production.run(std::move(items));
    // A round that is not whole must not shape the next one.
    if (production.counts().unreachable > 0) return;
  }
}

/// True: the dataset is whole, or as whole as it shall be.
bool Synthesis::is_complete(const Production& production, const TeacherCounts& wire,
                            BatchFolder* folder, Json& out) const {
  const std::uint64_t open = production.counts().unreachable;
  if (folder != nullptr) {
    const BatchCounts counts = folder->commit();
    out["batch"] = {{"answered", counts.answered}, {"failed", counts.failed},
                    {"unknown", counts.unknown},   {"pending", counts.pending},
                    {"written", counts.written},   {"files", counts.files}};
    const bool complete = open == 0 || request_.finish;
    out["complete"] = open == 0;
    if (!complete) out["output"] = nullptr;
    return complete;
  }
  if (open > 0 && !request_.finish)
    fail(ErrorKind::kResource, "synthesize",
         fmt::format("{} of {} seeds got no answer within {} attempts; the last: {}", open,
                     production.counts().seeds, job_.teacher.limits.attempts,
                     printable(wire.given_up, 300)),
         "what was answered is kept: run again, or write what is complete with --finish");
  return true;
}

Json Synthesis::run() {
  const Timer timer;
  check_files();
  const bool batch = !request_.batch_files.empty();
  const std::string secret = batch || request_.finish ? "" : secret_of(job_.teacher);
  Journal journal(seeds_.own_journal(out_), seeds_.part_journals(out_));
  if (request_.retry_failed) (void)journal.forget_failures();
  Budget budget(job_.teacher.prices, job_.teacher.caps);
  budget.recall(journal.usage(), journal.answers());
  budget.recall(journal.lost());
  std::unique_ptr<BatchFolder> folder;
  TeacherOptions options = client_options(job_, secret);
  if (batch) {
    folder =
        std::make_unique<BatchFolder>(request_.batch_files, job_.teacher.model, journal, budget);
    options.offline = [&folder](const TeacherRequest& request, const std::string& key) {
      folder->add(request, key);
    };
  }
  if (request_.finish) options.offline = [](const TeacherRequest&, const std::string&) {};
  const bool live = !options.offline;
  TeacherClient client(std::move(options), journal, budget);
  const Json abilities = abilities_of(client, journal, live);
  std::unique_ptr<AtomicFile> file;
  if (seeds_.whole()) file = std::make_unique<AtomicFile>(out_);
  Production production(context_, client, journal, budget, [&file](const Json& row) {
    if (file) file->write(dump_json(row) + "\n");
  });
  produce(production);
  journal.sync();
  Json out = summary(production, budget, client.counts(), timer.seconds());
  if (is_complete(production, client.counts(), folder.get(), out) && file) {
    file->commit();
    write_lancet_json(out, abilities);
  }
  return out;
}

}  // namespace

Json synthesize(const SynthesizeRequest& request) {
  Job job = request.job.empty() ? parse_job(request.text, "options", fs::current_path())
                                : read_job(request.job);
  if (!job.data.rows.empty())
    fail(ErrorKind::kUsage, "synthesize", "this job has its rows already: there is nobody to ask",
         "lancet distill goes on from them");
  if (request.seed) job.seed = *request.seed;
  Synthesis synthesis(request, std::move(job));
  return request.plan ? synthesis.plan() : synthesis.run();
}

}  // namespace lancet
