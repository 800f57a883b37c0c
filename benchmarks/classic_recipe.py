"""The classic public recipe for A3C, with its defects corrected, as a yardstick.

What most public PyTorch implementations do: a torch forward pass with a graph for every step, one optimizer whose state
lies in shared memory, the local model's gradients shared with the global one. Corrected here: gradients are cleared in
place (since torch 2.0 ``zero_grad`` would drop them), the optimizer's state exists before the processes start,
truncation bootstraps, one thread a process. And made as fast as the recipe allows: no distribution objects, whose
checks cost as much as the network, one loss over the stacked segment, plain copies of the parameters.
"""

import contextlib
import math
import time
from collections.abc import Iterator

import numpy as np
import torch as th
import torch.multiprocessing as mp
from torch import nn

from benchmarks.environments import make_env


class ActorCritic(nn.Module):
    """Two perceptrons of 64 x 64, as SB3's MlpPolicy has."""

    def __init__(self, n_inputs: int, n_outputs: int, continuous: bool) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(n_inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.head = nn.Linear(64, n_outputs)
        self.critic = nn.Sequential(nn.Linear(n_inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
        self.log_std = nn.Parameter(th.zeros(n_outputs)) if continuous else None

    def forward(self, observation: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Outputs of the actor (logits or means) and the value of one observation."""
        return self.head(self.actor(observation)), self.critic(observation)

    def sample(self, outputs: th.Tensor) -> th.Tensor:
        """An action drawn by an actor's outputs."""
        with th.no_grad():
            if self.log_std is None:
                return th.multinomial(outputs.softmax(-1), 1)[0]
            return outputs + self.log_std.exp() * th.randn_like(outputs)

    def log_probs_and_entropies(self, outputs: th.Tensor, actions: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Of a segment: outputs (n, width), actions (n,) or (n, width)."""
        if self.log_std is None:
            log_pi = outputs.log_softmax(-1)
            return log_pi.gather(1, actions[:, None])[:, 0], -(log_pi.exp() * log_pi).sum(1)
        z = (actions - outputs) / self.log_std.exp()
        normalizer = self.log_std + 0.5 * math.log(2 * math.pi)
        return (-0.5 * z * z - normalizer).sum(1), (0.5 + normalizer).sum().expand(len(outputs))


class SharedAdam(th.optim.Adam):
    """Adam whose averages and step count exist from the start and lie in shared memory."""

    def __init__(self, model: nn.Module, lr: float) -> None:
        super().__init__(model.parameters(), lr=lr)
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter] = {
                    "step": th.zeros(()).share_memory_(),
                    "exp_avg": th.zeros_like(parameter).share_memory_(),
                    "exp_avg_sq": th.zeros_like(parameter).share_memory_(),
                }


def _worker(
    index: int,
    env_id: str,
    shared: ActorCritic,
    optimizer: SharedAdam,
    steps: "mp.Value",
    stop: "mp.Event",
    go: "mp.Event",
    n_steps: int,
) -> None:
    th.set_num_threads(1)
    th.manual_seed(index)
    env = make_env(env_id)
    local = _model(env)
    for parameter, own in zip(shared.parameters(), local.parameters(), strict=True):
        own.grad = th.zeros_like(own)
        parameter.grad = own.grad
    pairs = list(zip(local.parameters(), shared.parameters(), strict=True))
    observation, _ = env.reset(seed=index)
    discrete = local.log_std is None
    while not stop.is_set():
        go.wait()
        with th.no_grad():
            for own, parameter in pairs:
                own.copy_(parameter)
        rewards, values, outputs, actions = [], [], [], []
        ended = truncated = False
        for _ in range(n_steps):
            output, value = local(th.as_tensor(observation, dtype=th.float32))
            action = local.sample(output)
            given = int(action) if discrete else np.clip(action.numpy(), env.action_space.low, env.action_space.high)
            observation, reward, terminated, truncated, _ = env.step(given)
            rewards.append(float(reward))
            values.append(value)
            outputs.append(output)
            actions.append(action)
            ended = terminated or truncated
            if ended:
                break
        following = 0.0
        if not ended or (truncated and not terminated):
            with th.no_grad():
                following = float(local(th.as_tensor(observation, dtype=th.float32))[1])
        if ended:
            observation, _ = env.reset()
        returns = []
        for reward in reversed(rewards):
            following = reward + 0.99 * following
            returns.append(following)
        log_probs, entropies = local.log_probs_and_entropies(th.stack(outputs), th.stack(actions))
        advantages = th.tensor(returns[::-1]) - th.cat(values)
        loss = (0.5 * advantages.square() - advantages.detach() * log_probs - 0.01 * entropies).sum()
        for own in local.parameters():
            own.grad.zero_()
        loss.backward()
        nn.utils.clip_grad_norm_(local.parameters(), 40.0)
        optimizer.step()
        with steps.get_lock():
            steps.value += len(rewards)


def _model(env) -> ActorCritic:
    continuous = hasattr(env.action_space, "low")
    n_outputs = env.action_space.shape[0] if continuous else int(env.action_space.n)
    return ActorCritic(int(np.prod(env.observation_space.shape)), n_outputs, continuous)


@contextlib.contextmanager
def training(
    env_id: str, n_workers: int, n_steps: int, seed: int = 0
) -> "Iterator[tuple[ActorCritic, mp.Value, mp.Event]]":
    """Workers that train while the block runs.

    Yields:
        the shared network, the environment steps taken so far, and an event that halts all workers when it is cleared.
    """
    context = mp.get_context("forkserver")
    th.manual_seed(seed)
    shared = _model(make_env(env_id))
    shared.share_memory()
    optimizer = SharedAdam(shared, lr=1e-3)
    steps, stop, go = context.Value("q", 0), context.Event(), context.Event()
    go.set()
    workers = [
        context.Process(
            target=_worker, args=(seed * n_workers + i, env_id, shared, optimizer, steps, stop, go, n_steps)
        )
        for i in range(n_workers)
    ]
    for worker in workers:
        worker.start()
    try:
        yield shared, steps, go
    finally:
        stop.set()
        go.set()
        for worker in workers:
            worker.join()


def measure(env_id: str, seconds: float, n_workers: int, n_steps: int) -> tuple[int, float]:
    """Train for a while.

    Returns:
        environment steps, and the seconds that they took once every worker was running.
    """
    with training(env_id, n_workers, n_steps) as (_, steps, _):
        while steps.value < 200 * n_workers:
            time.sleep(0.01)
        before, start = steps.value, time.perf_counter()
        time.sleep(seconds)
        return steps.value - before, time.perf_counter() - start
