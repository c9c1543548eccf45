#pragma once
// Who is who in a data-parallel run: from torchrun's variables, Slurm's, Open MPI's or PMI's.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace lancet {

struct RankPlace {
  std::int64_t rank = 0, size = 1;
  std::int64_t local = 0;  ///< rank among those of this machine
  std::string host;        ///< where rank 0 listens
  std::uint16_t port = 0;
  int listener = -1;  ///< rank 0: a bound and listening socket that it inherited, or -1
};

/// Value of a variable, or nothing.
using Environment = std::function<std::optional<std::string>(const char* name)>;
[[nodiscard]] Environment process_environment();

/// RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT; else SLURM_PROCID, SLURM_STEP_NUM_TASKS,
/// SLURM_LOCALID and the first host of SLURM_STEP_NODELIST (inside srun only: a batch script sees
/// some of Slurm's variables, too, and is alone); else OMPI_COMM_WORLD_*, PMI_RANK and PMI_SIZE
/// with MASTER_ADDR and MASTER_PORT. One process where there are none. kUsage for values that make
/// no sense or leave something open.
[[nodiscard]] RankPlace rank_place(const Environment& environment);

/// The --device of one of several processes: each has a GPU of its own among the `gpus` that it
/// sees where "cuda" or "auto" leave it open.
[[nodiscard]] std::string rank_device(const std::string& device, const RankPlace& place, int gpus);

/// The first host of a Slurm list: "gpu[07-09,12],login" is gpu07. kUsage for what is none.
[[nodiscard]] std::string first_host(std::string_view list);

}  // namespace lancet
