#include "merge/run.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/text.h"
#include "formats/containers/sharded.h"
#include "formats/output_journal.h"
#include "formats/replaceable.h"
#include "merge/card.h"
#include "merge/estimate.h"
#include "version.h"

namespace lancet {
namespace {

using Shard = std::vector<const PlannedTensor*>;
using Clock = std::chrono::steady_clock;

std::uint64_t bytes_of(const Shard& shard) {
  std::uint64_t bytes = 0;
  for (const PlannedTensor* tensor : shard) bytes += tensor->bytes();
  return bytes;
}

/// Filled in the order of the names up to `limit`; a larger tensor has a shard of its own.
std::vector<Shard> split_shards(const MergePlan& plan, std::uint64_t limit) {
  std::vector<Shard> shards(1);
  std::uint64_t size = 0;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (!shards.back().empty() && tensor.bytes() > limit - std::min(limit, size)) {
      shards.emplace_back();
      size = 0;
    }
    size += tensor.bytes();
    shards.back().push_back(&tensor);
  }
  return shards;
}

std::string name_of(std::size_t shard, std::size_t shards) {
  return shards == 1 ? "model.safetensors" : shard_name(shard, shards);
}

/// Parts are runs of shards of about equal bytes, from 1.
std::vector<std::uint32_t> parts_of(const std::vector<Shard>& shards, std::uint32_t parts) {
  std::uint64_t total = 0, done = 0;
  for (const Shard& shard : shards) total += bytes_of(shard);
  std::vector<std::uint32_t> out;
  for (const Shard& shard : shards) {
    const std::uint64_t bytes = bytes_of(shard);
    const double middle = (static_cast<double>(done) + static_cast<double>(bytes) / 2) /
                          static_cast<double>(std::max<std::uint64_t>(total, 1));
    out.push_back(1 + std::min(parts - 1, static_cast<std::uint32_t>(middle * parts)));
    done += bytes;
  }
  return out;
}

std::string_view semantics_name(Semantics semantics) {
  return semantics == Semantics::kMergekit ? "mergekit"
         : semantics == Semantics::kPaper  ? "paper"
                                           : "fixed";
}

Json identity_of(const RecipeFile& recipe, const MergePlan& plan, const RunOptions& options) {
  Json inputs = Json::array();
  for (const auto& input : plan.inputs) inputs.push_back(input->identity());
  return {{"version", LANCET_VERSION},
          {"recipe", sha256_hex(recipe.text)},
          {"semantics", semantics_name(plan.options.semantics)},
          {"seed", plan.options.seed},
          {"dtype", plan.options.dtype ? Json(dtype_info(*plan.options.dtype).name) : Json()},
          {"shard_size", options.shard_size},
          {"inputs", inputs}};
}

/// lancet.json's own fields.
Json manifest_of(const RecipeFile& recipe, const MergePlan& plan, const RunOptions& options) {
  Json manifest = options.command.is_object() ? options.command : Json::object();
  manifest["recipe"] = recipe.text;
  manifest["semantics"] = semantics_name(plan.options.semantics);
  manifest["inputs"] = Json::array();
  for (const auto& input : plan.inputs) {
    manifest["inputs"].push_back(input->identity());
    if (options.hash_inputs) input->add_hashes(manifest["inputs"].back());
  }
  return manifest;
}

/// OUT as a file or folder is named.
fs::path named(const fs::path& out) { return out.has_filename() ? out : out.parent_path(); }

class Runner {
 public:
  Runner(const RecipeFile& recipe, const MergePlan& plan, const fs::path& out,
         const RunOptions& options)
      : recipe_(recipe),
        plan_(plan),
        out_(named(out)),
        options_(options),
        progress_("merging", plan.bytes_written(), Progress::Unit::kBytes) {}

  Json run() {
    for (const std::string& warning : plan_.warnings) log::warn(warning);
    check_place("merge", out_, OutputKind::kModel, files_read(plan_),
                replaces(options_.force, false));
    check_memory(plan_, limits());
    const bool single = out_.extension() == ".safetensors" || out_.extension() == ".gguf";
    if (single && (options_.parts > 0 || options_.join)) {
      fail(ErrorKind::kUsage, "merge",
           fmt::format("--part and --join write a directory of shards, found '{}'",
                       printable(out_.string(), 400)));
    }
    single ? write_single() : write_directory();
    progress_.finish();
    return result();
  }

 private:
  const RecipeFile& recipe_;
  const MergePlan& plan_;
  fs::path out_;
  const RunOptions& options_;
  Progress progress_;
  Clock::time_point start_ = Clock::now();
  std::uint64_t written_ = 0, resumed_ = 0;
  std::size_t tensors_ = 0;
  bool complete_ = true;

  ShardLimits limits() const { return {options_.memory}; }

  void write_directory() {
    check_replaceable(out_);
    OutputJournal journal("merge", out_, identity_of(recipe_, plan_, options_),
                          {options_.parts > 0, options_.restart});
    const std::vector<Shard> shards = split_shards(plan_, options_.shard_size);
    const std::vector<std::uint32_t> parts =
        parts_of(shards, std::max<std::uint32_t>(options_.parts, 1));
    check_space(out_, missing_bytes(journal, shards, parts));
    std::vector<WrittenFile> files;
    for (std::size_t k = 0; k < shards.size(); ++k) {
      if (options_.parts == 0 || parts[k] == options_.part)
        files.push_back(shard(journal, shards, k));
    }
    resumed_ = journal.resumed();
    complete_ = options_.parts == 0;
    if (complete_) finish(journal, shards, std::move(files));
  }

  std::uint64_t missing_bytes(const OutputJournal& journal, const std::vector<Shard>& shards,
                              const std::vector<std::uint32_t>& parts) const {
    std::uint64_t bytes = 0;
    for (std::size_t k = 0; k < shards.size(); ++k) {
      const bool own = options_.parts == 0 || parts[k] == options_.part;
      if (own && !journal.finished(name_of(k, shards.size()))) bytes += bytes_of(shards[k]);
    }
    return bytes;
  }

  WrittenFile shard(OutputJournal& journal, const std::vector<Shard>& shards, std::size_t k) {
    const std::string name = name_of(k, shards.size());
    tensors_ += shards[k].size();
    bool taken = true;
    WrittenFile file = journal.make(name, [&](const fs::path& path) {
      taken = false;
      if (options_.join) {
        fail(ErrorKind::kInput, "merge",
             fmt::format("--join: expected the shard {}, found {}", name,
                         journal.finished(name) ? "other bytes than its part wrote" : "none"),
             "run the missing --part k/n first, or leave out --join to compute what is missing");
      }
      return write_shard(plan_, shards[k], path, limits(), progress_);
    });
    taken ? progress_.advance(bytes_of(shards[k])) : void(written_ += file.bytes);
    return file;
  }

  void finish(OutputJournal& journal, const std::vector<Shard>& shards,
              std::vector<WrittenFile> files) {
    const auto add_text = [&](const std::string& name, const std::string& text) {
      fs::create_directories((journal.path() / name).parent_path());  // of chat templates
      write_file(journal.path() / name, text);
      files.push_back({journal.path() / name, text.size(), sha256_hex(text)});
    };
    if (shards.size() > 1) {
      std::map<std::string, std::string> index;
      for (std::size_t k = 0; k < shards.size(); ++k) {
        for (const PlannedTensor* tensor : shards[k])
          index.emplace(tensor->name, name_of(k, shards.size()));
      }
      add_text("model.safetensors.index.json", shard_index_text(index, plan_.bytes_written()));
    }
    for (const auto& [name, text] : texts()) add_text(name, text);
    write_manifest(journal.path() / "lancet.json", manifest_of(recipe_, plan_, options_), files);
    journal.close();
    journal.commit(options_.force);
  }

  /// Everything beside the weights.
  std::map<std::string, std::string> texts() const {
    std::map<std::string, std::string> out = plan_.side_files;
    if (plan_.config.is_object()) out["config.json"] = dump_json(plan_.config, 2) + "\n";
    out["mergekit_config.yml"] = recipe_.text;
    out["README.md"] = model_card(recipe_, plan_);
    return out;
  }

  void write_single() {
    tensors_ = plan_.tensors.size();
    if (out_.extension() == ".gguf") {
      std::vector<OutputTensor> tensors;
      for (const PlannedTensor& tensor : plan_.tensors) {
        tensors.push_back({tensor.name, tensor.dtype, tensor.shape,
                           [this, &tensor](const std::function<void(Bytes)>& emit) {
                             emit_tensor(plan_, tensor, limits(), emit);
                           }});
      }
      auto side = texts();
      side.erase("mergekit_config.yml");
      side.erase("README.md");
      Json identity = identity_of(recipe_, plan_, options_);
      identity["configuration"] = sha256_hex(dump_json(Json(side)));
      OutputJournal journal("merge", out_, identity, {.restart = options_.restart});
      const WriteOptions write{.force = options_.force,
                               .manifest = manifest_of(recipe_, plan_, options_),
                               .journal = &journal};
      for (const WrittenFile& file : write_model(out_, std::move(tensors), side, write))
        written_ += file.bytes;
      resumed_ = journal.resumed();
      written_ -= resumed_;
      return;
    }
    check_space(out_, plan_.bytes_written());
    Shard all;
    for (const PlannedTensor& tensor : plan_.tensors) all.push_back(&tensor);
    const Json manifest = manifest_of(recipe_, plan_, options_);  // hashes the inputs: before there
                                                                  // is a result that lacks it
    const WrittenFile file = write_shard(plan_, all, out_, limits(), progress_);
    written_ = file.bytes;
    write_manifest(out_.string() + ".lancet.json", manifest, {file});
  }

  Json result() const {
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    const double share = static_cast<double>(written_) /
                         static_cast<double>(std::max<std::uint64_t>(1, plan_.bytes_written()));
    const auto read =
        static_cast<std::uint64_t>(static_cast<double>(plan_.bytes_read()) * std::min(1.0, share));
    const auto rate = [&](std::uint64_t bytes) {
      return static_cast<double>(bytes) / 1e9 / std::max(seconds, 1e-9);
    };
    return {
        {"output", out_.string()}, {"complete", complete_},        {"tensors", tensors_},
        {"bytes_read", read},      {"bytes_written", written_},    {"seconds", seconds},
        {"read_gb_s", rate(read)}, {"write_gb_s", rate(written_)}, {"peak_memory", peak_memory()},
        {"resumed", resumed_},     {"warnings", plan_.warnings}};
  }
};

}  // namespace

std::vector<fs::path> files_read(const MergePlan& plan) {
  std::vector<fs::path> out;
  for (const auto& input : plan.inputs) {
    const auto files = input->files();
    out.insert(out.end(), files.begin(), files.end());
  }
  return out;
}

Json describe_merge(const MergePlan& plan, const fs::path& out, const RunOptions& options,
                    bool timed) {
  if (!out.empty())
    check_place("merge", named(out), OutputKind::kModel, files_read(plan),
                replaces(options.force, true));
  check_memory(plan, {options.memory});
  Json models = Json::array();
  for (const auto& input : plan.inputs) models.push_back(input->text());
  Json document{{"plan", true},
                {"output", out.string()},
                {"method", plan.method->name},
                {"models", models},
                {"tensors", plan.tensors.size()},
                {"bytes_read", plan.bytes_read()},
                {"bytes_written", plan.bytes_written()},
                {"shards", split_shards(plan, options.shard_size).size()},
                {"peak_memory", expected_memory(plan, {options.memory})},
                {"warnings", plan.warnings}};
  if (!timed) return document;
  const bool unknown = leaves_out_linalg(plan);
  document["seconds"] = unknown ? Json() : Json(expected_seconds(plan, out, {options.memory}));
  if (unknown)
    document["warnings"].push_back(fmt::format(
        "the time is unknown: most of it is the linear algebra of {}, which a plan does "
        "not try",
        plan.method->name));
  return document;
}

Json run_merge(const RecipeFile& recipe, const MergePlan& plan, const fs::path& out,
               const RunOptions& options) {
  return Runner(recipe, plan, out, options).run();
}

}  // namespace lancet
