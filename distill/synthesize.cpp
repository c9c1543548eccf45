#include "distill/synthesize.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "distill/batch.h"
#include "distill/job.h"
#include "distill/licence.h"
#include "distill/production.h"
#include "distill/teacher/capabilities.h"
#include "formats/model_writer.h"

namespace lancet {
namespace {

fs::path beside(const fs::path& out, const std::string& suffix) { return out.string() + suffix; }

/// The key, from the environment only.
std::string secret_of(const TeacherBlock& teacher) {
  if (teacher.api_key_env.empty()) return {};
  const char* value = std::getenv(teacher.api_key_env.c_str());
  if (value == nullptr || *value == 0)
    fail(ErrorKind::kUsage, "teacher",
         fmt::format("the environment variable {} is not set", teacher.api_key_env));
  const std::string out(value);
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

/// One run of the command.
class Synthesis {
 public:
  Synthesis(const SynthesizeRequest& request, Job job)
      : request_(request),
        job_(std::move(job)),
        recipe_(*job_.data.recipe),
        out_(request.output.empty() ? dataset_path(job_) : request.output),
        prompts_(std::string(recipe_.name), job_.data.prompts),
        context_{
            recipe_,  job_.data.options, prompts_, body_of(job_.teacher), job_.teacher.send_seed,
            job_.seed} {
    for (const std::string_view name : recipe_.prompts) (void)prompts_.text(std::string(name));
    seeds_ = read_seeds(job_, duplicates_);
    if (request.parts > 1 && recipe_.next_round != nullptr)
      fail(ErrorKind::kUsage, "synthesize",
           fmt::format("{} works in rounds over all its rows: it cannot be done in parts",
                       recipe_.name));
  }

  [[nodiscard]] Json plan() {
    std::uint64_t prompt = 0, completion = 0;
    const std::vector<SeedItem> items = round_items(0, {});
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
    const Budget budget(job_.teacher.prices, {});
    return {{"recipe", recipe_.name},
            {"model", job_.teacher.model},
            {"output", out_.string()},
            {"seeds", seeds_.size()},
            {"duplicates", duplicates_},
            {"items", items.size()},
            {"estimate",
             {{"requests", requests},
              {"prompt_tokens", most.prompt},
              {"completion_tokens", most.completion},
              {"usd", budget.cost(most)}}},
            {"rounds", recipe_.next_round != nullptr},
            {"job", job_json(job_)}};
  }

  [[nodiscard]] Json run();

 private:
  const SynthesizeRequest& request_;
  Job job_;
  const DataRecipe& recipe_;
  fs::path out_;
  PromptLibrary prompts_;
  TurnContext context_;
  std::vector<Seed> seeds_;
  std::size_t duplicates_ = 0;

  [[nodiscard]] bool whole() const { return request_.parts == 1; }

  [[nodiscard]] std::vector<SeedItem> items_of(const std::vector<Seed>& seeds) const {
    std::vector<SeedItem> out;
    for (const Seed& seed : seeds) {
      for (std::uint32_t sample = 0; sample < job_.data.samples; ++sample) {
        std::string key = seed_key(recipe_, seed.value, sample);
        if (!in_part(key, request_.part, request_.parts)) continue;
        out.push_back({seed.value, std::move(key), seed.label, sample});
      }
    }
    return out;
  }

  /// Items of a round; empty after the last one.
  [[nodiscard]] std::vector<SeedItem> round_items(std::uint32_t round,
                                                  const std::vector<Json>& rows) const {
    if (recipe_.next_round == nullptr)
      return round == 0 ? items_of(seeds_) : std::vector<SeedItem>{};
    std::vector<Json> values;
    for (const Seed& seed : seeds_) values.push_back(seed.value);
    std::vector<Seed> next;
    const RoundInput input{round, values, rows, job_.data.options, job_.seed};
    for (Json& value : recipe_.next_round(input))
      next.push_back({std::move(value), fmt::format("round {}:{}", round + 1, next.size() + 1)});
    return items_of(next);
  }

  /// "OUT.journal"; of a part, "OUT.part-2-of-4.journal".
  [[nodiscard]] fs::path own_journal() const {
    if (whole()) return beside(out_, ".journal");
    return beside(out_, fmt::format(".part-{}-of-{}.journal", request_.part, request_.parts));
  }

  /// The journals of the parts, when the whole is made.
  [[nodiscard]] std::vector<fs::path> part_journals() const {
    std::vector<fs::path> out;
    const fs::path folder = out_.has_parent_path() ? out_.parent_path() : fs::path(".");
    if (!whole() || !fs::is_directory(folder)) return out;
    const std::string prefix = out_.filename().string() + ".part-";
    for (const auto& each : fs::directory_iterator(folder)) {
      const std::string name = each.path().filename().string();
      if (name.starts_with(prefix) && name.ends_with(".journal")) out.push_back(each.path());
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  void note_models(TeacherClient& client) const;
  [[nodiscard]] Json summary(const Production& production, const Budget& budget,
                             const TeacherCounts& wire, double seconds) const;
  void write_lancet_json(const Json& summary, const Json& capabilities) const;
};

void Synthesis::note_models(TeacherClient& client) const {
  try {
    std::vector<std::string> names;
    for (const Json& each : client.models().value("data", Json::array()))
      names.push_back(json_string(each, "id", "GET /models", ""));
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
  return {{"output", whole() ? Json(out_.string()) : Json()},
          {"journal", own_journal().string()},
          {"recipe", recipe_.name},
          {"seeds", counts.seeds},
          {"duplicates", duplicates_},
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
    if (fs::is_regular_file(path))
      inputs.push_back(
          {{"path", path.string()}, {"bytes", fs::file_size(path)}, {"sha256", sha256_file(path)}});
  }
  fields["inputs"] = inputs;
  Json prompts = Json::object();
  for (const std::string_view name : recipe_.prompts)
    prompts[name] = sha256_hex(prompts_.text(std::string(name)));
  fields["prompts"] = prompts;
  LicenceDuties duties;
  duties.add_teacher(job_.teacher.model);
  if (!job_.teacher.licence.empty()) duties.declare(job_.teacher.licence);
  fields["licence"] = duties.json();
  fields["capabilities"] = capabilities;
  fields["result"] = summary;
  write_manifest(beside(out_, ".lancet.json"), fields,
                 {{out_, fs::file_size(out_), sha256_file(out_)}});
}

Json Synthesis::run() {
  const auto start = std::chrono::steady_clock::now();
  if (out_.empty())
    fail(ErrorKind::kUsage, "synthesize", "expected an output, found none",
         "give -o data.jsonl, or `output:` in the job");
  if (whole()) check_output("synthesize", out_, request_.force);
  const bool batch = !request_.batch_files.empty();
  const std::string secret = batch || request_.finish ? "" : secret_of(job_.teacher);
  Journal journal(own_journal(), part_journals());
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
  } else if (request_.finish) {
    options.offline = [](const TeacherRequest&, const std::string&) {};
  }
  const bool live = !options.offline;
  TeacherClient client(std::move(options), journal, budget);
  Json abilities = nullptr;
  if (live) {
    note_models(client);
    const Capabilities found = probe_capabilities(client, context_.body);
    for (const auto& [name, value] : found.fields.items()) context_.body[name] = value;
    abilities = {{"top_logprobs", found.top}, {"token_ids", found.token_ids}};
  }
  std::unique_ptr<AtomicFile> file;
  if (whole()) file = std::make_unique<AtomicFile>(out_);
  Production production(context_, client, journal, budget, [&file](const Json& row) {
    if (file) file->write(dump_json(row) + "\n");
  });
  for (std::uint32_t round = 0;; ++round) {
    std::vector<SeedItem> items = round_items(round, production.rows());
    if (items.empty()) break;
    production.run(std::move(items));
    // A round that is not whole must not shape the next one.
    if (production.counts().unreachable > 0) break;
  }
  journal.sync();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  Json out = summary(production, budget, client.counts(), seconds.count());
  const std::uint64_t open = production.counts().unreachable;
  if (folder) {
    const BatchCounts counts = folder->commit();
    out["batch"] = {{"answered", counts.answered}, {"failed", counts.failed},
                    {"unknown", counts.unknown},   {"pending", counts.pending},
                    {"written", counts.written},   {"files", counts.files}};
    out["complete"] = open == 0;
    if (open > 0) {
      out["output"] = nullptr;
      return out;
    }
  } else if (open > 0 && !request_.finish) {
    fail(ErrorKind::kResource, "synthesize",
         fmt::format("{} of {} seeds got no answer within {} attempts", open,
                     production.counts().seeds, job_.teacher.limits.attempts),
         "what was answered is kept: run again, or write what is complete with --finish");
  }
  if (file) {
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
