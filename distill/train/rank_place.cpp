#include "distill/train/rank_place.h"

#include <charconv>
#include <cstdlib>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::uint16_t kDefaultPort = 29500;  // torchrun's
constexpr std::int64_t kFirstSlurmPort = 20000, kSlurmPorts = 10000;
constexpr std::int64_t kMostRanks = 65536;

[[noreturn]] void refuse(const std::string& message, std::string hint = {}) {
  fail(ErrorKind::kUsage, "train", message, std::move(hint));
}

std::int64_t parse_number(const char* name, const std::string& text, std::int64_t least,
                          std::int64_t most) {
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value < least || value > most) {
    refuse("expected " + std::string(name) + " from " + std::to_string(least) + " to " +
           std::to_string(most) + ", found '" + printable(text) + "'");
  }
  return value;
}

/// Names of the variables of one launcher.
struct Names {
  const char* rank;
  const char* size;
  const char* local;
};
constexpr Names kTorchrun{"RANK", "WORLD_SIZE", "LOCAL_RANK"};
constexpr Names kSlurm{"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"};
constexpr Names kOpenMpi{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                         "OMPI_COMM_WORLD_LOCAL_RANK"};
constexpr Names kPmi{"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"};

std::optional<RankPlace> read_ranks(const Environment& environment, const Names& names) {
  const auto rank = environment(names.rank), size = environment(names.size);
  if (!rank && !size) return std::nullopt;
  if (!rank || !size) {
    refuse("expected " + std::string(names.rank) + " and " + names.size + " together, found only " +
           (rank ? names.rank : names.size));
  }
  RankPlace place;
  place.size = parse_number(names.size, *size, 1, kMostRanks);
  place.rank = parse_number(names.rank, *rank, 0, place.size - 1);
  if (const auto local = environment(names.local))
    place.local = parse_number(names.local, *local, 0, place.size - 1);
  return place;
}

void read_master(const Environment& environment, RankPlace& place) {
  if (const auto host = environment("MASTER_ADDR")) place.host = *host;
  if (const auto port = environment("MASTER_PORT"))
    place.port = static_cast<std::uint16_t>(parse_number("MASTER_PORT", *port, 1, 65535));
  if (const auto listener = environment("LANCET_MASTER_FD"); listener && place.rank == 0)
    place.listener = static_cast<int>(parse_number("LANCET_MASTER_FD", *listener, 3, 1 << 20));
}

/// Slurm says where the first process is; a port of the job's own keeps jobs of one machine apart.
void read_slurm_master(const Environment& environment, RankPlace& place) {
  for (const char* name : {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"}) {
    if (const auto list = environment(name); list && place.host.empty())
      place.host = first_host(*list);
  }
  const auto job = environment("SLURM_JOB_ID");
  const std::int64_t id = job ? parse_number("SLURM_JOB_ID", *job, 0, INT64_MAX) : 0;
  if (place.port == 0) place.port = static_cast<std::uint16_t>(kFirstSlurmPort + id % kSlurmPorts);
}

}  // namespace

Environment process_environment() {
  return [](const char* name) -> std::optional<std::string> {
    const char* const value = std::getenv(name);
    return value == nullptr || *value == 0 ? std::nullopt : std::optional<std::string>(value);
  };
}

RankPlace rank_place(const Environment& environment) {
  for (const Names& names : {kTorchrun, kSlurm, kOpenMpi, kPmi}) {
    // A Slurm batch script has a rank, too, but no step.
    if (names.rank == kSlurm.rank && !environment(kSlurm.size)) continue;
    auto place = read_ranks(environment, names);
    if (!place) continue;
    if (place->size == 1) return {};
    read_master(environment, *place);
    if (names.rank == kSlurm.rank) read_slurm_master(environment, *place);
    if (place->port == 0) place->port = kDefaultPort;
    if (place->host.empty())
      refuse("expected MASTER_ADDR, where rank 0 listens, found none",
             "torchrun sets it; mpirun -x MASTER_ADDR=... passes it on");
    return *place;
  }
  return {};
}

std::string rank_device(const std::string& device, const RankPlace& place, int gpus) {
  const bool open = device == "cuda" || device == "auto";
  if (place.size == 1 || gpus == 0 || !open) return device;
  return "cuda:" + std::to_string(place.local % gpus);
}

std::string first_host(std::string_view list) {
  std::string host;
  std::size_t i = 0;
  while (i < list.size() && list[i] != ',') {
    if (list[i] != '[') {
      host += list[i++];
      continue;
    }
    const std::size_t close = list.find(']', i);
    const std::size_t end = list.find_first_of(",-]", i);
    if (close == std::string_view::npos || end == i + 1)
      refuse("expected a list of hosts, found '" + printable(list) + "'");
    host += list.substr(i + 1, end - i - 1);
    i = close + 1;
  }
  if (host.empty()) refuse("expected a list of hosts, found '" + printable(list) + "'");
  return host;
}

}  // namespace lancet
