"""The algorithms that come with this package, with their papers."""

import sb3_contrib
import stable_baselines3

from agents.a3c import A3C
from agents.async_q import AsyncNStepQ, AsyncQLearning, AsyncSarsa
from agents.dpg import DPG
from agents.off_pac import OffPAC
from agents.registry.spec import AgentSpec

_ASYNCHRONOUS_METHODS = (
    "Mnih, Badia, Mirza, Graves, Lillicrap, Harley, Silver, Kavukcuoglu: Asynchronous Methods for Deep "
    "Reinforcement Learning, 2016"
)
_ANY = ("Box", "Discrete", "MultiBinary", "MultiDiscrete")
_CONTINUOUS = ("Box",)
_DISCRETE = ("Discrete",)

BUILTIN_SPECS = (
    AgentSpec(
        "a2c",
        stable_baselines3.A2C,
        "MlpPolicy",
        f"{_ASYNCHRONOUS_METHODS} (the synchronous variant)",
        _ANY,
    ),
    AgentSpec(
        "a3c",
        A3C,
        "MlpPolicy",
        _ASYNCHRONOUS_METHODS,
        _ANY,
        asynchronous=True,
    ),
    AgentSpec(
        "ars",
        sb3_contrib.ARS,
        "MlpPolicy",
        "Mania, Guy, Recht: Simple Random Search Provides a Competitive Approach to Reinforcement Learning, 2018",
        ("Box", "Discrete"),
    ),
    AgentSpec(
        "asyncnstepq",
        AsyncNStepQ,
        "MlpPolicy",
        f"{_ASYNCHRONOUS_METHODS} (n-step Q-learning)",
        _DISCRETE,
        asynchronous=True,
    ),
    AgentSpec(
        "asyncqlearning",
        AsyncQLearning,
        "MlpPolicy",
        f"{_ASYNCHRONOUS_METHODS} (one-step Q-learning)",
        _DISCRETE,
        asynchronous=True,
    ),
    AgentSpec(
        "asyncsarsa",
        AsyncSarsa,
        "MlpPolicy",
        f"{_ASYNCHRONOUS_METHODS} (one-step Sarsa)",
        _DISCRETE,
        asynchronous=True,
    ),
    AgentSpec(
        "crossq",
        sb3_contrib.CrossQ,
        "MlpPolicy",
        "Bhatt, Palenicek, Belousov, Argus, Amiranashvili, Brox, Peters: CrossQ: Batch Normalization in Deep "
        "Reinforcement Learning for Greater Sample Efficiency and Simplicity, 2024",
        _CONTINUOUS,
    ),
    AgentSpec(
        "ddpg",
        stable_baselines3.DDPG,
        "MlpPolicy",
        "Lillicrap, Hunt, Pritzel, Heess, Erez, Tassa, Silver, Wierstra: Continuous Control with Deep Reinforcement "
        "Learning, 2016",
        _CONTINUOUS,
    ),
    AgentSpec(
        "dpg",
        DPG,
        "MlpPolicy",
        "Silver, Lever, Heess, Degris, Wierstra, Riedmiller: Deterministic Policy Gradient Algorithms, 2014",
        _CONTINUOUS,
    ),
    AgentSpec(
        "dqn",
        stable_baselines3.DQN,
        "MlpPolicy",
        "Mnih, Kavukcuoglu, Silver, Rusu, Veness, Bellemare, Graves, Riedmiller et al.: Human-Level Control through "
        "Deep Reinforcement Learning, 2015",
        _DISCRETE,
    ),
    AgentSpec(
        "maskableppo",
        sb3_contrib.MaskablePPO,
        "MlpPolicy",
        "Huang, Ontañón: A Closer Look at Invalid Action Masking in Policy Gradient Algorithms, 2022",
        ("Discrete", "MultiBinary", "MultiDiscrete"),
    ),
    AgentSpec(
        "offpac",
        OffPAC,
        "MlpPolicy",
        "Degris, White, Sutton: Off-Policy Actor-Critic, 2012",
        ("Box", "Discrete"),
    ),
    AgentSpec(
        "ppo",
        stable_baselines3.PPO,
        "MlpPolicy",
        "Schulman, Wolski, Dhariwal, Radford, Klimov: Proximal Policy Optimization Algorithms, 2017",
        _ANY,
    ),
    AgentSpec(
        "qrdqn",
        sb3_contrib.QRDQN,
        "MlpPolicy",
        "Dabney, Rowland, Bellemare, Munos: Distributional Reinforcement Learning with Quantile Regression, 2018",
        _DISCRETE,
    ),
    AgentSpec(
        "recurrentppo",
        sb3_contrib.RecurrentPPO,
        "MlpLstmPolicy",
        "Schulman, Wolski, Dhariwal, Radford, Klimov: Proximal Policy Optimization Algorithms, 2017 (with an LSTM)",
        _ANY,
    ),
    AgentSpec(
        "sac",
        stable_baselines3.SAC,
        "MlpPolicy",
        "Haarnoja, Zhou, Abbeel, Levine: Soft Actor-Critic: Off-Policy Maximum Entropy Deep Reinforcement Learning "
        "with a Stochastic Actor, 2018",
        _CONTINUOUS,
    ),
    AgentSpec(
        "td3",
        stable_baselines3.TD3,
        "MlpPolicy",
        "Fujimoto, van Hoof, Meger: Addressing Function Approximation Error in Actor-Critic Methods, 2018",
        _CONTINUOUS,
    ),
    AgentSpec(
        "tqc",
        sb3_contrib.TQC,
        "MlpPolicy",
        "Kuznetsov, Shvechikov, Grishin, Vetrov: Controlling Overestimation Bias with Truncated Mixture of Continuous "
        "Distributional Quantile Critics, 2020",
        _CONTINUOUS,
    ),
    AgentSpec(
        "trpo",
        sb3_contrib.TRPO,
        "MlpPolicy",
        "Schulman, Levine, Moritz, Jordan, Abbeel: Trust Region Policy Optimization, 2015",
        _ANY,
    ),
)
