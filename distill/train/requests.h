#pragma once
// What the command line asks of a training run. No LibTorch here.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "model/lora_settings.h"

namespace lancet {

struct OptimizerSettings {
  std::string name = "adamw";  ///< adamw, adamw8bit
  double lr = 2e-4;            ///< > 0
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double weight_decay = 0;  ///< >= 0, decoupled, of A and B
  double lora_plus = 1;     ///< >= 1: the learning rate of B is so many times A's (LoRA+)
  double clip = 1;          ///< global norm of the gradient; 0 = not clipped
};

struct ScheduleSettings {
  std::string name = "cosine";  ///< cosine, linear, constant, wsd
  double warmup = 0.03;         ///< below 1: a share of all steps; from 1 on: steps
  double floor = 0.1;           ///< share of the learning rate that cosine, linear and wsd end at
  double decay = 0.2;           ///< of wsd: share of all steps in which it falls
};

struct TrainRequest {
  fs::path model;
  std::vector<fs::path> data;
  fs::path out;
  std::optional<fs::path> init;  ///< a PEFT adapter that is trained on
  LoraSettings lora;
  std::optional<double> init_dropout;  ///< with `init`: instead of its own

  std::string loss = "sft";
  std::map<std::string, std::string> loss_options;
  std::optional<fs::path> teacher;    ///< a model that runs beside the student, for losses with one
  std::int64_t rollout_tokens = 256;  ///< of an answer that the student samples (on_policy)
  OptimizerSettings optimizer;
  ScheduleSettings schedule;

  std::int64_t epochs = 1;
  std::int64_t steps = 0;  ///< optimiser steps in all, instead of epochs; 0 = by epochs
  std::int64_t max_length = 1024;
  std::int64_t batch_tokens = 4096;  ///< tokens of a micro-batch, or
  std::int64_t batch_size = 0;       ///< rows of a micro-batch; 0 = by tokens
  std::int64_t accumulate = 1;       ///< micro-batches of a step, of all processes together
  bool pack = true;                  ///< best-fit packing; else batches in the order of the epoch
  bool shuffle = true;               ///< else the order of the files
  std::string overlong = "truncate", bad_rows = "error";
  bool as_chat = false;
  std::vector<std::string> ignored_keys;

  double eval_fraction = 0;
  std::int64_t eval_every = 0;  ///< steps; 0 = only before the first and after the last
  std::int64_t patience = 0;    ///< evaluations without a better one before it stops; 0 = never
  std::int64_t save_every = 0;  ///< steps; 0 = only when it is interrupted
  std::int64_t keep = 2;        ///< last checkpoints kept beside the best one
  std::optional<fs::path> log_dir;
  std::string base_quant = "none";  ///< none, nf4, int8, q8_0, stored: of the frozen layers
  std::int64_t samples = 0;  ///< prompts answered before and after, for the report of log_dir
  bool forgetting = false;   ///< measure the base's abilities before and after
  std::optional<double> rank_timeout;  ///< seconds that processes wait for each other to begin
  std::string checkpointing = "auto";  ///< of activations: auto, on, off
  std::uint64_t memory = 0;  ///< bytes that the run may take; 0 = four fifths of what is free

  bool plan = false, force = false;
  bool settings_only = false;  ///< check settings, model and teacher; the data need not be there
};

/// One JSON line of `train --json`.
using TrainSink = std::function<void(const Json&)>;

}  // namespace lancet
